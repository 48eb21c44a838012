"""eventkit beside its peers: the same backlog and the same load through each, and a look at what each delivered.

A peer is a module here: how its outbox row is written, and how its own program, set up as its documentation advises,
is started. Everything it needs is fetched or built at its first use, outside of eventkit's own environment.
"""

from benchmarks.peers.command import command

__all__ = ["command"]
