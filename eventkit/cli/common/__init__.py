"""Shared by all commands: output, options for ages and sizes, start and end of a process."""
