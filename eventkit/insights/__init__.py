"""Checks of a running system, by statements whose cost does not grow with the number of events, streams or letters."""
