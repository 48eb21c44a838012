"""The operator's options for the source of a projection."""

import msgspec

from eventkit.projection.run.resume import Begin


class SourceOptions(msgspec.Struct, frozen=True):
    """The operator's options for a projection's source."""

    from_store: bool = False
    group: str | None = None  # the projection's own unless given
    topics: tuple[str, ...] = ()
    store_url: str | None = None  # where the event store is not in the read models' database
    until_idle: float | None = None  # seconds
    begin: Begin = Begin.REFUSE  # for handlers that act, if their place at the broker is gone
