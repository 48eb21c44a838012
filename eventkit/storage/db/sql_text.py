"""Puts the schema into statements, each of which has `{s}` before the names of eventkit's tables, and qualifies names.

A statement stands whole in its module. Only a condition or a select that depends on the call is a part of its own, for
the place of its name in braces. A part may have `{s}`, and the parts that are given before it. A `schema` is the plain
name everywhere else, and is quoted here.
"""

import re
from functools import lru_cache

# PostgreSQL looks for functions and types in the session's search path, which a service sets as it likes. Even where it
# looks in `pg_catalog` first, it takes another schema's function whose arguments fit better: `unnest(text[])`, say.
_FUNCTIONS = """aclexplode array_agg array_to_string bool_and bool_or btrim cardinality ceil chr clock_timestamp concat
concat_ws convert_to count current_database current_setting decode encode floor format format_type gen_random_uuid
hashtext hashtextextended has_[a-z_]+ jsonb?_[a-z_]+ lag left lower make_interval max min mod nextval now
obj_description octet_length pg_[a-z_]+ quote_ident regexp_replace replace round row_number row_to_json set_config
setval sha256 split_part starts_with statement_timestamp string_agg substr sum to_char to_jsonb? to_regclass
to_regnamespace upper uuid_send"""
_TYPES = """bool bytea float8 int[248] jsonb? name oid pg_lsn reg[a-z]+ text timestamptz uuid xid8"""
# `unnest` of several arrays is grammar, and PostgreSQL's own under any search path; qualified, it takes one array only.
_ONE_ARGUMENT = r"(?:[^,()]|%\(\w+\)s|\((?:[^,()]|%\(\w+\)s)*\))*"
_QUOTED = r"""('(?:[^']|'')*'|"(?:[^"]|"")*")"""  # a constant or a name: it stays as it is, a stream may be named so
_NAME = re.compile(
    rf'{_QUOTED}|(?<![\w."])(?=(?:{"|".join(_FUNCTIONS.split())})\(|unnest\({_ONE_ARGUMENT}\))'
    rf"|(?<=::)(?=(?:{'|'.join(_TYPES.split())})\b)"
)


def quoted(schema: str) -> str:
    """Return a schema's name quoted, as the `{s}` of a statement with parameters."""
    return '"' + schema.replace('"', '""').replace("%", "%%") + '"'


def as_part(text: str) -> str:
    """Return any text as a part of a statement with parameters: its `%` and its braces are doubled."""
    return text.replace("%", "%%").replace("{", "{{").replace("}", "}}")


def literal(text: str) -> str:
    """Return a text as a constant in a part of a statement."""
    return as_part("'" + text.replace("'", "''") + "'")


@lru_cache(maxsize=1_000)
def in_schema(statement: str, schema: str, **parts: str) -> bytes:
    """Return a statement for the tables of a schema, with its parts and with qualified names."""
    return text_in_schema(statement, schema, **parts).encode()


def text_in_schema(statement: str, schema: str, **parts: str) -> str:
    """Return the same as text: for steps, and for a statement that its owner keeps."""
    known = {"s": quoted(schema)}
    for name, part in parts.items():
        known[name] = part.format(**known)
    return _qualified(statement.format(**known))


@lru_cache(maxsize=1_000)
def qualified(statement: str | bytes) -> str | bytes:
    """Return a statement whose functions and types are PostgreSQL's own under any search path."""
    return _qualified(statement) if isinstance(statement, str) else _qualified(statement.decode()).encode()


def _qualified(statement: str) -> str:
    return _NAME.sub(lambda found: found[1] or "pg_catalog.", statement)
