"""The process that runs projections: where messages come from, term after term."""
