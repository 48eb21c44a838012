"""The state of projections: their lag, their processes, the counts of `eventkit projection status`."""
