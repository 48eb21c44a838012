"""Transports to the brokers, one folder each; `open_transport` imports the one that a URL names."""

from eventkit.transports.base import Finding, Flag, Publisher, Reports, Subscription, Transport, open_transport

__all__ = ["Finding", "Flag", "Publisher", "Reports", "Subscription", "Transport", "open_transport"]
