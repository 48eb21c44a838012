"""A rebuild: shadow tables are filled beside the live ones, then swapped in."""

from eventkit.projection.rebuild.from_store import chunks, parts_of, runs_of
from eventkit.projection.rebuild.rebuild import RebuildOutcome, RebuildPlan, RebuildProgress, RebuildRun

__all__ = ["RebuildOutcome", "RebuildPlan", "RebuildProgress", "RebuildRun", "chunks", "parts_of", "runs_of"]
