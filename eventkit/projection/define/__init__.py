"""Projections as a service declares them: handlers, tables, rows."""
