"""Removes events from the store: prunes old ones, archives whole streams."""

from eventkit.storage.retention.archive import Archive
from eventkit.storage.retention.prune import Count, PruneRun, Which, long_ago, pruned_categories

__all__ = ["Archive", "Count", "PruneRun", "Which", "long_ago", "pruned_categories"]
