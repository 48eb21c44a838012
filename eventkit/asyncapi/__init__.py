"""A catalog as an AsyncAPI 3.1 document: channels, operations, messages and schemas, for other teams."""

from eventkit.asyncapi.bindings import PROTOCOLS
from eventkit.asyncapi.block_yaml import yaml_text
from eventkit.asyncapi.contract import document

__all__ = ["PROTOCOLS", "document", "yaml_text"]
