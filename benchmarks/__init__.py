"""How fast it is, beside what the parts can do at all.

Each run starts its own servers and says what a figure includes.
"""
