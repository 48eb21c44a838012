"""The catalog of a service: its event types by name, their versions, and what a release would break."""
