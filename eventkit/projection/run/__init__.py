"""The process that runs projections: sources of messages, terms, supervision."""

from eventkit.projection.run.consumer_groups import broker_of, remove_abandoned
from eventkit.projection.run.import_path import attribute_at, load_projections
from eventkit.projection.run.projector import Projector
from eventkit.projection.run.resume import Begin
from eventkit.projection.run.runner import ProjectionRunner
from eventkit.projection.run.source_options import SourceOptions
from eventkit.projection.run.sources import TransportSource
from eventkit.projection.run.supervision import Supervised
from eventkit.projection.run.topics import known_topics, topics_of_store

__all__ = [
    "Begin",
    "ProjectionRunner",
    "Projector",
    "SourceOptions",
    "Supervised",
    "TransportSource",
    "attribute_at",
    "broker_of",
    "known_topics",
    "load_projections",
    "remove_abandoned",
    "topics_of_store",
]
