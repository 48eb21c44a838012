"""Who acts, for the record: the user's name, or number where the machine has no name for it, as in containers."""

import getpass
import os


def acting_user() -> str:
    """Return the name of this process's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # which of them depends on Python's release
        return f"uid {os.getuid()}"
