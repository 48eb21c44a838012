"""Makes the roles of `eventkit.storage.schema.grants`, and finds missing and surplus privileges."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from eventkit.errors import StorageError
from eventkit.storage.db import database_errors, qualified, quoted
from eventkit.storage.schema.grants import APPENDING, DEFAULT_PREFIX, DRAWN, ROLES, TABLES, name_of, wanted
from eventkit.storage.tables import TO_DEBEZIUM

Right = tuple[str, str]  # an object (a table, a sequence, "" for the schema) and a privilege

_ROLE = "select oid from pg_roles where rolname = %s"
# Explicit grants to one role, by its name: a missing role has none.
_GRANTED = """
with r as (select oid from pg_roles where rolname = %(role)s)
select c.relname::text, lower(a.privilege_type) from pg_class c, aclexplode(c.relacl) a
 where c.relnamespace = %(schema)s::regnamespace and c.relkind in ('r', 'S') and a.grantee = (select oid from r)
   and c.relowner <> a.grantee
union all
select '', lower(privilege_type) from pg_namespace n, aclexplode(nspacl) a
 where n.oid = %(schema)s::regnamespace and a.grantee = (select oid from r) and nspowner <> a.grantee
"""
_SEQUENCES = """select c.relname::text, s.relname::text from pg_class s
  join pg_depend d on d.objid = s.oid and d.deptype = 'i' and d.classid = 'pg_class'::regclass
  join pg_class c on c.oid = d.refobjid
 where s.relkind = 'S' and s.relnamespace = %(schema)s::regnamespace"""
_NOT_OWNED = """
select format('alter schema %%I owner to %%I', nspname, %(role)s::text) from pg_namespace
 where oid = %(schema)s::regnamespace and pg_get_userbyid(nspowner) <> %(role)s
union all
select format('alter table %%s owner to %%I', oid::regclass, %(role)s::text) from pg_class
 where relnamespace = %(schema)s::regnamespace and relkind = 'r' and pg_get_userbyid(relowner) <> %(role)s
union all
select format('alter function %%s owner to %%I', oid::regprocedure, %(role)s::text) from pg_proc
 where pronamespace = %(schema)s::regnamespace and pg_get_userbyid(proowner) <> %(role)s
"""
_MEMBER = """select exists (select from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles r
    on r.oid = m.member where g.rolname = %s and r.rolname = %s)"""
_MAY_CREATE = """select current_database(), exists (select from pg_database, aclexplode(datacl) a
    join pg_roles r on r.oid = a.grantee
   where datname = current_database() and r.rolname = %s and a.privilege_type = 'CREATE')"""
_EFFECTIVE = """select has_schema_privilege(%(schema)s::regnamespace, 'usage'), array(
  select t || ' ' || p from unnest(%(tables)s::text[], %(privileges)s::text[]) w(t, p)
   where not has_table_privilege(format('%%s.%%I', %(schema)s::text, t), p)),
  has_function_privilege(to_regprocedure(%(function)s), 'execute')"""
_CALLED = TO_DEBEZIUM + "(text, bigint)"
_IS_CALLED_BY_ALL = "select has_function_privilege('public', to_regprocedure(%s), 'execute')"


def role_statements(connection: psycopg.Connection[Any], schema: str, prefix: str = DEFAULT_PREFIX) -> list[str]:
    """Return the SQL statements that bring the roles to their privileges; an empty list where they have them."""
    with database_errors():
        found = [each for role in ROLES for each in _of_role(connection, schema, role, name_of(role, prefix))]
        operator, maintenance = name_of("operator", prefix), name_of("maintenance")
        if connection.execute(_MEMBER, [maintenance, operator]).fetchone() != (True,):
            found.append(_text("grant {} to {}", maintenance, operator))
        return found + _for_all(connection, schema)


def create_roles(connection: psycopg.Connection[Any], schema: str, prefix: str = DEFAULT_PREFIX) -> list[str]:
    """Run `role_statements` in one transaction, as a role that may create roles and owns the tables; return them."""
    with connection.transaction():
        found = role_statements(connection, schema, prefix)
        for statement in found:
            try:
                connection.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege as error:
                raise StorageError(
                    f"this role may not run `{statement}` ({error.diag.message_primary}): run `eventkit db roles "
                    "--create` as a superuser, or have an administrator run what `eventkit db roles` prints"
                ) from error
    return found


def purposes(connection: psycopg.Connection[Any], schema: str) -> dict[str, list[str]]:
    """Return, for each kind of process, the rights that the session's role lacks for it; an empty list for none."""
    return {role: _lacking(connection, schema, role) for role in ROLES if role not in {"owner", "maintenance"}}


def incomplete(connection: psycopg.Connection[Any], schema: str, prefix: str = DEFAULT_PREFIX) -> list[str]:
    """Return the statements for existing roles, which may lack rights on new tables after an upgrade."""
    there = {name_of(role, prefix) for role in ROLES if connection.execute(_ROLE, [name_of(role, prefix)]).fetchone()}
    found = role_statements(connection, schema, prefix)
    return [each for each in found if each.split()[-1].strip('"') in {*there, "public"}]


def _for_all(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Return the grant of the function that each append calls, where an administrator has revoked it."""
    function = f"{quoted(schema)}.{_CALLED}"
    if connection.execute(_IS_CALLED_BY_ALL, [function]).fetchone() == (False,):
        return [f"grant execute on function {function} to public"]
    return []


def _of_role(connection: psycopg.Connection[Any], schema: str, role: str, name: str) -> list[str]:
    params = {"schema": quoted(schema), "role": name}
    found = [] if connection.execute(_ROLE, [name]).fetchone() else [_text("create role {} nologin", name)]
    if role == "owner":
        return found + [statement for (statement,) in connection.execute(qualified(_NOT_OWNED), params)]
    has = {(target, privilege) for target, privilege in connection.execute(qualified(_GRANTED), params)}
    needs = _needs(connection, schema, role)
    found += _by_table("grant {} on {} to {}", schema, name, needs - has)
    found += _by_table("revoke {} on {} from {}", schema, name, has - needs)
    if role == "operator":  # a rebuild makes a schema for its tables
        database, may = connection.execute(_MAY_CREATE, [name]).fetchone() or ("", True)
        found += [] if may else [_text("grant create on database {} to {}", database, name)]
    return found


def _needs(connection: psycopg.Connection[Any], schema: str, role: str) -> set[Right]:
    """Return all rights of a role: on the schema (""), on tables, and on their sequences."""
    rights = {(table, privilege) for table, privileges in wanted(role).items() for privilege in privileges}
    for table, sequence in connection.execute(_SEQUENCES, {"schema": quoted(schema)}).fetchall():
        if (table, "select") in rights and role != "maintenance":
            rights.add((sequence, "select"))  # to check that it is ahead of its table
        if table == DRAWN[0] and role in DRAWN[1]:
            rights.add((sequence, "usage"))
    return rights | {("", "usage")}


def _by_table(statement: str, schema: str, name: str, rights: Iterable[Right]) -> list[str]:
    by_table: dict[str, list[str]] = defaultdict(list)
    for table, privilege in sorted(rights):
        by_table[table].append(privilege)
    return [_on(statement, schema, table, privileges, name) for table, privileges in by_table.items()]


def _on(statement: str, schema: str, target: str, privileges: list[str], name: str) -> str:
    place = sql.SQL("schema {}").format(sql.Identifier(schema))
    if target:
        kind = "" if target in TABLES else "sequence "
        place = sql.SQL(kind) + sql.Identifier(schema, target)
    return sql.SQL(statement).format(sql.SQL(", ".join(privileges)), place, sql.Identifier(name)).as_string()


def _lacking(connection: psycopg.Connection[Any], schema: str, role: str) -> list[str]:
    pairs = [(table, privilege) for table, privileges in wanted(role).items() for privilege in privileges]
    params = {"schema": quoted(schema), "tables": [t for t, _ in pairs], "privileges": [p for _, p in pairs]}
    params["function"] = f"{quoted(schema)}.{_CALLED}"
    usage, lacking, may_call = connection.execute(qualified(_EFFECTIVE), params).fetchone() or (False, [], None)
    rights = (right.split(" ") for right in lacking)
    found = [*([] if usage else ["usage on the schema"]), *(f"{privilege} on {table}" for table, privilege in rights)]
    return found + ([f"execute on {TO_DEBEZIUM}"] if role in APPENDING and may_call is False else [])


def _text(statement: str, *names: str) -> str:
    return sql.SQL(statement).format(*map(sql.Identifier, names)).as_string()
