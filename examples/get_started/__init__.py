"""The program of docs/get-started.md, which a test copies into an empty folder."""
