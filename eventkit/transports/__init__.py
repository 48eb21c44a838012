"""The roads to the brokers: `open_transport` is the one look-up; one file a broker; imports are lazy."""

from eventkit.transports.base import Flag, Publisher, Reports, Subscription, Transport, open_transport

__all__ = ["Flag", "Publisher", "Reports", "Subscription", "Transport", "open_transport"]
