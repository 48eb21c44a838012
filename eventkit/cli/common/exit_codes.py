"""The exit codes of the command; docs/troubleshooting.md has them in a table for operators."""

from enum import IntEnum


class ExitCode(IntEnum):
    """An exit code; a second SIGINT or SIGTERM ends a worker with 128 + the signal's number."""

    DONE = 0  # also where the first signal has ended it
    REFUSED = 1  # a check failed, or the database or broker does not do what was asked
    MISUSED = 2  # a setting or the usage is wrong
    NOT_COMPARED = 3  # `projection verify` could compare nothing
    FAULT = 70  # eventkit or the service's code has a fault
    INTERRUPTED = 130  # Ctrl-C
