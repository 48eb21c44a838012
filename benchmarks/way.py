"""A way of appending: a function that commits one transaction of some events to one stream."""

from collections.abc import Callable

Way = Callable[[str, int], None]
"""Appends events with numbers below the second argument to the `order` stream that the first names, and commits."""

NOTE = "word " * 28  # 200 bytes of data
