"""The tables of projections: registration, checkpoints, the inbox, rebuilds, and the tables of read models."""

from eventkit.storage.projections.applied import Applied, applied_steps
from eventkit.storage.projections.broker_places import BrokerPlaces, Place, Saved
from eventkit.storage.projections.checkpoints import Checkpoint, Checkpoints, Span
from eventkit.storage.projections.consumer_groups import ConsumerGroup, ConsumerGroups
from eventkit.storage.projections.generations import (
    dead_generations,
    forget,
    generation_of,
    letters_by_cause,
    parked_by,
)
from eventkit.storage.projections.handler_waits import HandlerWait, HandlerWaits, WaitingHandler
from eventkit.storage.projections.inbox import (
    MOST_COUNTED,
    Inbox,
    StoredReply,
    count_old_messages,
    find_replies,
    is_message,
    keep_replies,
    name_of_message,
    oldest,
    prune_inbox,
)
from eventkit.storage.projections.live_tables import LiveTable, TableName, find_tables, is_table, search_path, written
from eventkit.storage.projections.rebuilds import Rebuild, Rebuilds, shadow_name
from eventkit.storage.projections.registration import DeclaredProjection, register
from eventkit.storage.projections.registry import BuildingGeneration, Live, ProjectionRegistry, Registered
from eventkit.storage.projections.shadow_tables import (
    create_shadow,
    definition,
    drop_shadow,
    index_shadow,
    is_lost,
    is_unlogged,
    refuse_same_names,
)
from eventkit.storage.projections.stream_lag import StreamLag, behind
from eventkit.storage.projections.swap_generations import (
    hand_over_letters,
    lagging_streams,
    newly_parked,
    replace_generation,
)
from eventkit.storage.projections.swap_tables import (
    drop_tables,
    lock_tables,
    merge_rows,
    needs_itself,
    refuse_keyless,
    swap_names,
)

__all__ = [
    "MOST_COUNTED",
    "Applied",
    "BrokerPlaces",
    "BuildingGeneration",
    "Checkpoint",
    "Checkpoints",
    "ConsumerGroup",
    "ConsumerGroups",
    "DeclaredProjection",
    "HandlerWait",
    "HandlerWaits",
    "Inbox",
    "Live",
    "LiveTable",
    "Place",
    "ProjectionRegistry",
    "Rebuild",
    "Rebuilds",
    "Registered",
    "Saved",
    "Span",
    "StoredReply",
    "StreamLag",
    "TableName",
    "WaitingHandler",
    "applied_steps",
    "behind",
    "count_old_messages",
    "create_shadow",
    "dead_generations",
    "definition",
    "drop_shadow",
    "drop_tables",
    "find_replies",
    "find_tables",
    "forget",
    "generation_of",
    "hand_over_letters",
    "index_shadow",
    "is_lost",
    "is_message",
    "is_table",
    "is_unlogged",
    "keep_replies",
    "lagging_streams",
    "letters_by_cause",
    "lock_tables",
    "merge_rows",
    "name_of_message",
    "needs_itself",
    "newly_parked",
    "oldest",
    "parked_by",
    "prune_inbox",
    "refuse_keyless",
    "refuse_same_names",
    "register",
    "replace_generation",
    "search_path",
    "shadow_name",
    "swap_names",
    "written",
]
