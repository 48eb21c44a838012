"""Events to JSON and back: the supported classes and types, their encoding, and the errors of unsupported ones."""

from eventkit.domain.codec.codec import Codec, encode_value
from eventkit.domain.codec.encoded import Encoded, Sealable, Values, check_size, sealed_size
from eventkit.domain.codec.jsonb import MAX_GROWTH, exceeds, keep_floats, stored_size
from eventkit.domain.codec.personal import MEMBER, Personal, PersonalField, marked
from eventkit.domain.codec.type_graph import classes_in, is_pydantic
from eventkit.domain.codec.validation_errors import difference, forbidden, sentence, shown

__all__ = [
    "MAX_GROWTH",
    "MEMBER",
    "Codec",
    "Encoded",
    "Personal",
    "PersonalField",
    "Sealable",
    "Values",
    "check_size",
    "classes_in",
    "difference",
    "encode_value",
    "exceeds",
    "forbidden",
    "is_pydantic",
    "keep_floats",
    "marked",
    "sealed_size",
    "sentence",
    "shown",
    "stored_size",
]
