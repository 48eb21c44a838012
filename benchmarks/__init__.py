"""Benchmarks of eventkit beside the raw speed of its parts.

Each run starts its own servers and lists the costs that a figure includes.
"""
