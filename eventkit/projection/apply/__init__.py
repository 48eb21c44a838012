"""One batch applied: checkpoints, handlers, and each way in which an event can fail."""

from eventkit.projection.apply.applier import BatchApplier, Stopped
from eventkit.projection.apply.decrypter import Decrypter
from eventkit.projection.apply.duplicates import Doubt, DuplicateChecks, Recent, differs
from eventkit.projection.apply.event_isolation import EventIsolation
from eventkit.projection.apply.lanes import waves
from eventkit.projection.apply.parking import waiting
from eventkit.projection.apply.redrive import StreamRedrive
from eventkit.projection.apply.stream_repair import RepairOptions, StreamRepair

__all__ = [
    "BatchApplier",
    "Decrypter",
    "Doubt",
    "DuplicateChecks",
    "EventIsolation",
    "Recent",
    "RepairOptions",
    "Stopped",
    "StreamRedrive",
    "StreamRepair",
    "differs",
    "waiting",
    "waves",
]
