"""The roles of `eventkit db roles` in a database of a test's own, each with a member that may log in."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from eventkit.storage.schema.grants import ROLES, name_of
from eventkit.storage.schema.roles import create_roles
from tests.projection.shop import CREATE
from tests.servers.postgres import PostgresServer


class Installation(NamedTuple):
    """A migrated database with roles, and an address for a member of each."""

    url: str
    prefix: str
    members: dict[str, str]


@contextmanager
def with_roles(postgres: PostgresServer, url: str) -> Iterator[Installation]:
    """Make roles of a name of their own, for a server has one set of roles."""
    prefix = f"t{secrets.token_hex(4)}_"
    members = {role: f"{prefix}{role}_login" for role in ROLES if role != "maintenance"}
    with psycopg.connect(url, autocommit=True) as session:
        create_roles(session, "eventkit", prefix)
        session.execute(CREATE.encode())
        for role, member in members.items():
            group, login = sql.Identifier(name_of(role, prefix)), sql.Identifier(member)
            session.execute(sql.SQL("create role {} login in role {}").format(login, group))
        projector = sql.Identifier(name_of("projector", prefix))
        session.execute(sql.SQL("grant select, insert, update, delete on totals to {}").format(projector))
    urls = {role: make_url(url).set(username=member) for role, member in members.items()}
    yield Installation(
        url, prefix, {role: member.render_as_string(hide_password=False) for role, member in urls.items()}
    )
    postgres.drop(url)
    with psycopg.connect(postgres.url, autocommit=True) as session:
        for name in [*members.values(), *(name_of(role, prefix) for role in ROLES)]:
            session.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))
