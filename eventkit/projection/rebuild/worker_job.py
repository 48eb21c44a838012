"""The job of one rebuild worker, serializable for another process, and the feeder that does it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec

from eventkit.domain.master_keys import MasterKeys
from eventkit.projection.apply import Decrypter
from eventkit.projection.define import Projection
from eventkit.projection.rebuild.from_store import StoreFeeder
from eventkit.projection.rebuild.memory import MemoryShare
from eventkit.projection.rebuild.shadow_applier import ShadowApplier
from eventkit.storage.db import connect
from eventkit.storage.events import StreamPart
from eventkit.storage.outbox import READING
from eventkit.storage.projections import LiveTable, Rebuild
from eventkit.worker import Stop

_SESSION = {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "300s"}  # no reader waits for a shadow


class Job(msgspec.Struct, frozen=True):
    """The projection, the databases, the shadow, and the part of the streams."""

    path: str  # of the projection's code
    name: str
    database_url: str
    store_url: str
    schema: str
    rebuild: Rebuild
    tables: list[LiveTable]  # the live ones
    search_path: str  # resolves table names to the shadow
    part: StreamPart = StreamPart()
    share: MemoryShare = MemoryShare()  # of memory
    master_keys: str | None = None  # as in the settings; a job goes to its worker process only

    def __repr__(self) -> str:
        """Show no secret."""
        return f"<Job {self.name} {self.part}>"


@contextmanager
def open_feeder(projection: Projection, job: Job, stop: Stop) -> Iterator[StoreFeeder]:
    """Connect to the read models and the store; yield a feeder for the job's part, and close the connections."""
    with ExitStack() as stack:
        options = {**_SESSION, "search_path": job.search_path}
        label = f"rebuild {job.name}"
        connection = connect(job.database_url, name=label, schema=job.schema, options=options)
        workspace = projection.workspace(connection, shadow=job.rebuild.shadow)
        stack.callback(workspace.close)
        store = connect(job.store_url, name=f"{label} reader", schema=job.schema, autocommit=True, options=READING)
        stack.callback(store.close)
        masters = MasterKeys.parse(job.master_keys) if job.master_keys else None
        applier = ShadowApplier(
            projection,
            workspace,
            job.rebuild,
            schema=job.schema,
            live_tables=job.tables,
            decrypter=Decrypter(masters, job.schema, lambda: store) if masters else None,
        )
        yield StoreFeeder(applier, store, schema=job.schema, part=job.part, stop=stop, share=job.share)
