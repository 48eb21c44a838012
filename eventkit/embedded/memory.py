"""A folder in memory for a server with temporary data: there a test database is copied ten times as fast."""

import os
import shutil
import tempfile
from pathlib import Path

SHARED = Path("/dev/shm")  # noqa: S108 a folder of a server is made in it, for this user alone
DEFAULT = "/tmp"  # noqa: S108 only compared
ROOM = 4 << 30  # bytes that must be free


def folder_in_memory() -> Path | None:
    """Return Linux's folder in memory.

    None where it is missing, closed or has less than four gigabytes free, and where TMPDIR names another folder.
    """
    if tempfile.gettempdir() != DEFAULT or not os.access(SHARED, os.W_OK | os.X_OK):
        return None
    runs_programs = not os.statvfs(SHARED).f_flag & os.ST_NOEXEC  # root copies the wheel's programs there
    return SHARED if runs_programs and shutil.disk_usage(SHARED).free >= ROOM else None
