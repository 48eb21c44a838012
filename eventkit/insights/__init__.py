"""Answers questions about a running system, with statements whose cost does not grow with what there is."""
