"""The tables of an installation: compared with the code, their sizes, roles and identities."""
