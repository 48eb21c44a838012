"""Projections as a service declares them: handlers, tables, rows."""

from eventkit.projection.define.group_name import group_of, short
from eventkit.projection.define.projection import AnsweringProjection, F, Projection
from eventkit.projection.define.rows import DELETE, OneRowError
from eventkit.projection.define.sql import SqlProjection
from eventkit.projection.define.table import TableProjection

__all__ = [
    "DELETE",
    "AnsweringProjection",
    "F",
    "OneRowError",
    "Projection",
    "SqlProjection",
    "TableProjection",
    "group_of",
    "short",
]
