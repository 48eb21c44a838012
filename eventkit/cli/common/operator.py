"""The user who runs a command, for the record: a name, or a number where the machine has no name for it."""

import getpass
import os


def acting_user() -> str:
    """Return the name of this process's user."""
    try:
        return getpass.getuser()
    except (
        KeyError,
        OSError,
        ImportError,
    ):  # a container's user may have no name; the error depends on Python's release
        return f"uid {os.getuid()}"
