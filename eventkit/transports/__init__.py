"""The roads to the brokers: `open_transport` is the one look-up; one file a broker; imports are lazy."""

from eventkit.transports.base import Finding, Flag, Publisher, Reports, Subscription, Transport, open_transport

__all__ = ["Finding", "Flag", "Publisher", "Reports", "Subscription", "Transport", "open_transport"]
