"""The reasons for which a transaction that applies events was rolled back, as exceptions inside the projection."""

from eventkit.projection.failure.error_class import describe


class Failed(Exception):  # no EventkitError: it carries an error of a handler
    """A transaction was rolled back for an error of an event."""

    def __init__(self, error: Exception) -> None:
        """Carry the error; the message is for logs, so it quotes no event."""
        super().__init__(describe(error))
        self.error = error


class Away(Exception):  # no EventkitError: it carries an error of a handler
    """A transaction was rolled back because a service that a handler calls is away."""

    def __init__(self, error: Exception) -> None:
        super().__init__(describe(error))
        self.error = error


class Locked(Exception):  # no EventkitError: its streams are set aside
    """A transaction was rolled back because another one holds a lock that it needs after the fence."""
