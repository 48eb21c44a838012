"""Events, streams and catalogs, their encoding and their form on the wire; without I/O, clock and SQL."""
