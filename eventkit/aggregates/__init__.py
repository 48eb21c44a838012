"""Aggregates: state folded from one stream's events, decisions in plain Python, appended if nobody was faster.

A class (`Aggregate`, `evolve`) or three functions (`Decider`) are declared over one engine, the `Fold`: pure, no I/O,
no clock. A `Repository` loads and saves them on the caller's own session or connection, the caller commits;
`retry_on_conflict` runs a whole unit of work again when another writer was first. Refused: an event that the fold does
not take, a stream with missing versions.
"""
