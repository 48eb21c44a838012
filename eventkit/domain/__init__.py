"""The pure part: events, streams, catalogs, their encoding and their form on the wire. No I/O, no clock, no SQL."""
