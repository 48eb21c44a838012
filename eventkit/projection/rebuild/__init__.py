"""A rebuild: fill shadow tables beside the live ones, then swap them in."""

from eventkit.projection.rebuild.from_store import chunks, parts_of, runs_of
from eventkit.projection.rebuild.progress import RebuildProgress
from eventkit.projection.rebuild.rebuild import RebuildOutcome, RebuildPlan, RebuildRun

__all__ = ["RebuildOutcome", "RebuildPlan", "RebuildProgress", "RebuildRun", "chunks", "parts_of", "runs_of"]
