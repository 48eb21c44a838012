"""Why a transaction that applies events was rolled back: what is caught, and never reaches anybody outside."""

from eventkit.projection.failure.error_class import said


class Failed(Exception):  # not an error of ours: it carries one of the handlers'
    """A transaction was rolled back for something an event did."""

    def __init__(self, error: Exception) -> None:
        """Carry the error; this one's message is for logs, so it says no more than may be said anywhere."""
        super().__init__(said(error))
        self.error = error


class Away(Exception):  # not an error of ours: it carries one of the handlers'
    """A transaction was rolled back because something that a handler calls is away."""

    def __init__(self, error: Exception) -> None:
        """Carry the error."""
        super().__init__(said(error))
        self.error = error


class Locked(Exception):  # not an error of ours: its streams are set aside
    """A transaction was rolled back because another one holds a lock that it needs, behind the fence."""
