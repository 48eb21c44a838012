"""Connects eventkit's own processes to PostgreSQL, and maps the driver's errors to eventkit's.

A connection notices a dead server within seconds. `connect` refuses a session that could lose or reorder events (a
standby, a pooler that shares sessions, an identity with a cache), and tables of another version. Each error is one
sentence with its cure, and no message contains a password. A service appends through its own connections and needs
none of this.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.exc import DBAPIError

from eventkit.config import ENCODE, is_ambiguous
from eventkit.errors import ConfigurationError, DatabaseUnavailable, NotPrimary, SchemaMismatch, StorageError
from eventkit.observability.liveness import waiting_for
from eventkit.storage.db.driver_errors import psycopg_error
from eventkit.storage.db.session_checks import Another, check_session, is_shared
from eventkit.storage.db.session_settings import TRANSACTION_LIMIT_SINCE, apply, starting_options

__all__ = ["check_session", "connect", "database_errors", "translated"]

# psycopg has no time limit of its own: tcp_user_timeout notices a dead peer in five seconds, keepalives alone do not.
_DEFAULTS = {
    "connect_timeout": "5",
    "tcp_user_timeout": "5000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
}
_SCHEME = re.compile(r"^postgres(ql)?(\+psycopg)?://")
_EXAMPLE = "postgresql://user@host:5432/database"

_ADVICE = (
    (r"password authentication failed|no password supplied", "check the user and the password (PGPASSWORD, ~/.pgpass)"),
    (r"database \".*\" does not exist", "create it (createdb) or correct the URL"),
    (r"role \".*\" does not exist", "create the role or correct the user in the URL"),
    (r"no pg_hba.conf entry", "allow this user and address in the server's pg_hba.conf"),
    (r"too many (clients|connections)|connection slots", "raise max_connections or end idle sessions"),
    (
        r"refused|could not translate|failed to resolve|time(d )?out|No such file|unreachable|ing (up|down)",
        "is the server up and the address right?",
    ),
)
_MISSING = "PostgreSQL lacks a table, column or schema ({text}): run `eventkit db upgrade`, then `eventkit db verify`"
_ENDED = "PostgreSQL ended the session by its {} ({{text}})"
_POOLER = r"unsupported (options )?startup parameter"
_READ_ONLY = r"session is read-only|hot standby|read-only transaction"

_MEANINGS: tuple[tuple[type[psycopg.Error], type[StorageError], str], ...] = (
    (
        errors.ReadOnlySqlTransaction,
        NotPrimary,
        "PostgreSQL refuses to write ({text}): it is a standby now, or read-only; connect to the primary",
    ),
    (errors.UndefinedTable, SchemaMismatch, _MISSING),
    (errors.UndefinedColumn, SchemaMismatch, _MISSING),
    (errors.InvalidSchemaName, SchemaMismatch, _MISSING),
    (
        errors.InsufficientPrivilege,
        StorageError,
        "PostgreSQL denies a privilege ({text}): grant it to the role; `eventkit db roles` prints the statements",
    ),
    (errors.IdleInTransactionSessionTimeout, DatabaseUnavailable, _ENDED.format("idle_in_transaction_session_timeout")),
    (errors.TransactionTimeout, DatabaseUnavailable, _ENDED.format("transaction_timeout")),
    (errors.IdleSessionTimeout, DatabaseUnavailable, _ENDED.format("idle_session_timeout")),
    (
        errors.QueryCanceled,
        DatabaseUnavailable,
        "PostgreSQL cancelled a statement ({text}): its statement_timeout had passed, or somebody cancelled it",
    ),
    (errors.DiskFull, DatabaseUnavailable, "the disk of the PostgreSQL server is full ({text}): make room on it"),
    (errors.OperationalError, DatabaseUnavailable, "PostgreSQL could not run a statement now ({code}): {text}"),
    (errors.InterfaceError, DatabaseUnavailable, "the connection to PostgreSQL was lost: {text}"),
)


T = TypeVar("T")


class NotedConnection(psycopg.Connection[Any]):
    """A connection whose thread notes each wait for the server: a frozen one blocks the driver for ever."""

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:  # noqa: ANN401 passed on to the driver
        """Wait for the server's answer; every statement, commit and copy passes here."""
        with waiting_for("the database"):
            return super().wait(gen, *args, **options)


def connect(
    url: str,
    *,
    name: str,
    schema: str | None = "eventkit",
    autocommit: bool = False,
    options: Mapping[str, str] | None = None,
) -> psycopg.Connection[Any]:
    """Open a session named `eventkit <name>`, with eventkit's settings and `options`; check it.

    `options` override the settings. The tables of `schema` are checked too, unless it is None. Raises
    DatabaseUnavailable, NotPrimary, SchemaMismatch or ConfigurationError.
    """
    parameters = {**_DEFAULTS, **parse(url), "application_name": f"eventkit {name}", "client_encoding": "utf8"}
    connection = _connection(parameters)
    release = connection.info.server_version
    try:
        with database_errors():
            try:
                _prepare(connection, schema, options or {}, lambda: _connection(parameters))
            except psycopg.Error:  # the role's transaction_timeout may have ended it before it was set
                if release < TRANSACTION_LIMIT_SINCE:
                    raise
                connection = _connection(parameters, release)
                _prepare(connection, schema, options or {}, lambda: _connection(parameters))
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(
    connection: psycopg.Connection[Any], schema: str | None, options: Mapping[str, str], another: Another
) -> None:
    """Apply the settings, unless a pooler shares the session with other clients; then check the session."""
    shared = is_shared(connection, another)
    if not shared:
        apply(connection, options)
    if schema is not None:
        check_session(connection, schema, shared=shared)


def _connection(parameters: Mapping[str, Any], server_version: int = 0) -> psycopg.Connection[Any]:
    options = starting_options(parameters.get("options"), server_version)
    try:
        return _opened({**parameters, "options": options})
    except psycopg.Error as error:
        if not re.search(_POOLER, first_line(error)):
            raise _refused(error, parameters) from error
    # A pooler refuses settings at the start: they are set afterwards, also over a role that is read-only by default.
    primary = {"target_session_attrs": "primary"} if parameters["target_session_attrs"] == "read-write" else {}
    try:
        return _opened({**parameters, **primary})
    except psycopg.Error as error:
        raise _refused(error, parameters) from error


def _opened(parameters: Mapping[str, Any]) -> psycopg.Connection[Any]:
    with waiting_for("the database"):
        return NotedConnection.connect(make_conninfo("", **parameters), autocommit=True)


def parse(url: str) -> dict[str, Any]:
    """Return a database URL's parts by libpq's names; an error never repeats the URL, which may have a password."""
    if not _SCHEME.match(url):
        kind, given, _ = url.partition("://")
        kind = kind if given and re.fullmatch(r"[a-z][a-z0-9+]{0,20}", kind) else "another"
        msg = (
            f"the database URL has the scheme {kind!r}: eventkit speaks to PostgreSQL through psycopg, as in {_EXAMPLE}"
        )
        raise ConfigurationError(msg)
    try:
        parts = conninfo_to_dict(_SCHEME.sub("postgresql://", url))
    except psycopg.Error:
        parts = {"port": "unreadable"}
    ports = str(parts.get("port") or "5432").split(",")
    if url.count("@") > 1 or is_ambiguous(url) or not all(port.isdigit() or not port for port in ports):
        msg = f"the database URL cannot be read: it looks like {_EXAMPLE}; {ENCODE}"
        raise ConfigurationError(msg)
    return dict(parts)


def place(parameters: Mapping[str, Any]) -> str:
    """Return a URL's parts as a phrase, without the password."""
    address = (
        f"{parameters.get('host') or parameters.get('hostaddr') or 'the local socket'}:{parameters.get('port') or 5432}"
    )
    database = f", database {parameters['dbname']!r}" if parameters.get("dbname") else ""
    user = f" as {parameters['user']!r}" if parameters.get("user") else ""
    return f"PostgreSQL at {address}{database}{user}"


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise eventkit's error for a driver's, also inside SQLAlchemy's, that concerns the database or the session."""
    try:
        yield
    except psycopg.Error as error:
        ours = translated(error)
        if ours is None:
            raise
        raise ours from error
    except DBAPIError as error:
        found = psycopg_error(error)
        ours = translated(found) if found is not None else None
        if ours is None:
            raise
        raise ours from error


def translated(error: psycopg.Error) -> StorageError | None:
    """Return eventkit's error for a driver's; None where that concerns a statement or its data."""
    kind, sentence = next(
        ((kind, sentence) for known, kind, sentence in _MEANINGS if isinstance(error, known)), (None, "")
    )
    if kind is DatabaseUnavailable and error.sqlstate is None:
        sentence = "the connection to PostgreSQL was lost: {text}"
    return kind(sentence.format(text=first_line(error), code=error.sqlstate)) if kind else None


def _refused(error: psycopg.Error, parameters: Mapping[str, Any]) -> StorageError:
    text = first_line(error)
    where = place(parameters)
    if re.search(_READ_ONLY, text):
        return NotPrimary(f"{where} is a standby, or read-only: eventkit works on the primary alone; correct the URL")
    if re.search(_POOLER, text):
        return NotPrimary(
            f"{where} is behind a pooler that takes no session settings ({text}): connect to PostgreSQL directly"
        )
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, text)), "correct the URL or the server")
    return DatabaseUnavailable(f"{where} cannot be reached: {text}; {advice}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error that is not empty, without libpq's preamble."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = re.sub(r"^connection (failed|is bad): ", "", lines[0] if lines else type(error).__name__)
    text = re.sub(r'^connection to server (at|on) ".*?"(, port \d+)? failed: ', "", text)
    return re.sub(r"^(FATAL|ERROR): +", "", text).rstrip(".")
