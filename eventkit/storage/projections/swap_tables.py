"""Replaces the live tables with those of a rebuild, in the caller's transaction, which holds the fence.

A swap by name drops the live tables, and the shadows take their names, with grants, owner, foreign keys, comments and
owned sequences. A statement that waits for the name meanwhile finds the new table. Some objects need the same table: a
view, a foreign key from another table, a trigger, a policy, a publication, partitions. Then, or where open snapshots
must still see the old rows, the rows are merged into the live table: only rows that differ are written.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from eventkit.errors import RebuildRefused
from eventkit.storage.db import qualified
from eventkit.storage.projections.live_tables import LiveTable
from eventkit.storage.projections.shadow_tables import shadow_of

# Objects that keep `drop table` from working, or that it would drop silently, and that `like` does not make again.
_DEPENDENTS = """
with dependent as (
  select d.classid, d.objid, d.objsubid from pg_depend d join pg_class c on c.oid = %(oid)s
   where d.deptype = 'n' and (d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
      or d.refclassid = 'pg_type'::regclass and d.refobjid in (select oid from pg_type t where t.typrelid = c.oid
         union all select t.typarray from pg_type t where t.typrelid = c.oid))
)
select distinct coalesce((select 'view ' || ev_class::regclass from pg_rewrite
                           where oid = objid and classid = 'pg_rewrite'::regclass),
                         pg_describe_object(classid, objid, objsubid))
  from dependent
 where coalesce(case classid when 'pg_constraint'::regclass then (select conrelid from pg_constraint where oid = objid)
                     when 'pg_attrdef'::regclass then (select adrelid from pg_attrdef where oid = objid)
                     when 'pg_statistic_ext'::regclass then (select stxrelid from pg_statistic_ext where oid = objid)
                     when 'pg_class'::regclass then (select indrelid from pg_index where indexrelid = objid)
                end, 0) <> all(%(ours)s::oid[])
union all
select 'trigger ' || tgname from pg_trigger where tgrelid = %(oid)s and not tgisinternal
union all
select 'rule ' || rulename from pg_rewrite where ev_class = %(oid)s
union all
select 'row security' from pg_class where oid = %(oid)s and relrowsecurity
union all
select 'publication ' || pubname from pg_publication_rel join pg_publication p on p.oid = prpubid
 where prrelid = %(oid)s
union all
select 'publication ' || pubname || ', for all tables,' from pg_publication where puballtables
union all
select 'publication ' || pubname || ', for all tables in its schema,' from pg_publication_namespace
  join pg_publication p on p.oid = pnpubid join pg_class c on c.oid = %(oid)s and c.relnamespace = pnnspid
union all
select 'its partitions or children' from pg_class c where c.oid = %(oid)s
   and (relkind = 'p' or exists (select from pg_inherits where inhparent = c.oid or inhrelid = c.oid))
order by 1
"""

_UNOWN = """
select format('alter sequence %%s owned by none', s.oid::regclass)
  from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
 where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
   and d.refobjid = %(oid)s and d.refobjsubid > 0 and d.deptype = 'a'
"""

# Read from the live table before it is dropped, then run on the new one in this order.
_AFTER = """
select 1, format('alter table %%s owner to %%I', %(to)s::text, pg_get_userbyid(relowner))
  from pg_class where oid = %(oid)s and pg_get_userbyid(relowner) <> current_user
union all
select 2, format('alter sequence %%s owned by %%s.%%I', s.oid::regclass, %(to)s::text, a.attname)
  from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
 where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
   and d.refobjid = %(oid)s and d.deptype = 'a'
union all
select 3, format('revoke all on %%s from %%s', %(to)s::text, coalesce(quote_ident(r.rolname), 'public'))
  from pg_class c, aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee
 where c.oid = %(shadow)s::regclass
union all
select 4, format('grant %%s on %%s to %%s%%s', privilege_type, %(to)s::text, coalesce(quote_ident(r.rolname), 'public'),
                 case when is_grantable then ' with grant option' else '' end)
  from pg_class c, aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee where c.oid = %(oid)s
union all
select 4, format('grant %%s (%%I) on %%s to %%s%%s', privilege_type, attname, %(to)s::text,
                 coalesce(quote_ident(r.rolname), 'public'),
                 case when is_grantable then ' with grant option' else '' end)
  from pg_attribute, aclexplode(attacl) a left join pg_roles r on r.oid = a.grantee
 where attrelid = %(oid)s and not attisdropped
union all
select 5, format('comment on table %%s is %%L', %(to)s::text, obj_description(%(oid)s, 'pg_class'))
 where obj_description(%(oid)s, 'pg_class') is not null
union all
select 5, format('comment on constraint %%I on %%s is %%L', conname, %(to)s::text,
                 obj_description(oid, 'pg_constraint'))
  from pg_constraint where conrelid = %(oid)s and contype <> 'f' and obj_description(oid, 'pg_constraint') is not null
union all
select 5, format('comment on index %%I.%%I is %%L', %(schema)s::text, relname, obj_description(i.oid, 'pg_class'))
  from pg_index join pg_class i on i.oid = indexrelid
 where indrelid = %(oid)s and obj_description(i.oid, 'pg_class') is not null
union all
select 6, format('alter table %%s add constraint %%I %%s', %(to)s::text, conname, pg_get_constraintdef(oid))
  from pg_constraint where conrelid = %(oid)s and contype = 'f' and conparentid = 0
union all
select 7, format('alter table %%s replica identity %%s', %(to)s::text, case relreplident
         when 'f' then 'full' when 'n' then 'nothing'
         else 'using index ' || (select quote_ident(x.relname) from pg_index join pg_class x on x.oid = indexrelid
                                  where indrelid = %(oid)s and indisreplident) end)
  from pg_class where oid = %(oid)s and relreplident <> 'd'
union all
select 8, format('alter table %%s cluster on %%I', %(to)s::text, x.relname)
  from pg_index join pg_class x on x.oid = indexrelid where indrelid = %(oid)s and indisclustered
order by 1
"""

_KEY = """select array_agg(attname::text order by attnum) from pg_index join pg_attribute on attrelid = indrelid
           and attnum = any(indkey) where indrelid = %s and indisprimary"""
_COLUMNS = """select attname::text, attidentity <> '' from pg_attribute
               where attrelid = %s and attnum > 0 and not attisdropped and attgenerated = '' order by attnum"""

# A key that is an identity is merged with the shadow's numbers: the live sequence continues above them.
_IDENTITIES = """
select setval(live, greatest(pg_sequence_last_value(live), drawn))
  from (select pg_get_serial_sequence(%(place)s, attname)::regclass as live,
               pg_sequence_last_value(pg_get_serial_sequence(%(shadow)s, attname)::regclass) as drawn
          from pg_attribute where attrelid = %(oid)s and attidentity <> '' and attname = any(%(key)s)) s
 where drawn is not null
"""

_KEYLESS = "the rows of {} cannot be merged: it has no primary key"
_GONE = "delete from {live} t where not exists (select from {shadow} s where {match})"
_CHANGED = """update {live} t set {changes} from {shadow} s
              where {match} and ({theirs}) is distinct from ({ours})"""
_NEW = """insert into {live} ({columns}) overriding system value select {columns} from {shadow} s
           where not exists (select from {live} t where {match})"""


def needs_itself(connection: psycopg.Connection[Any], tables: Sequence[LiveTable]) -> list[str]:
    """Return the objects that a swap by name would lose; where there are any, the rows must be merged."""
    ours = [table.oid for table in tables]
    return [
        f"{dependent} of {table.place}"
        for table in tables
        for (dependent,) in connection.execute(qualified(_DEPENDENTS), {"oid": table.oid, "ours": ours})
    ]


def refuse_keyless(connection: psycopg.Connection[Any], tables: Sequence[LiveTable]) -> None:
    """Raise RebuildRefused where rows must be merged into a table without a primary key."""
    for table in tables:
        if needs_itself(connection, [table]) and not _key(connection, table):
            raise RebuildRefused(_KEYLESS.format(table.place))


def lock_tables(connection: psycopg.Connection[Any], tables: Sequence[LiveTable]) -> None:
    """Lock out readers and writers until the transaction ends; in order of name, so two swaps cannot deadlock."""
    for table in sorted(tables, key=lambda table: table.place):
        connection.execute(f"lock table {table.place} in access exclusive mode".encode())


def swap_names(connection: psycopg.Connection[Any], shadow: str, tables: Sequence[LiveTable]) -> None:
    """Drop the live tables, which are locked, and give their names to their shadows."""
    after: list[tuple[int, str]] = []
    for table in tables:
        new = shadow_of(connection, shadow, table)
        params = {"oid": table.oid, "to": table.place, "shadow": new, "schema": table.schema}
        after += connection.execute(qualified(_AFTER), params).fetchall()
        for (statement,) in connection.execute(qualified(_UNOWN), params).fetchall():
            connection.execute(statement.encode())
    drop_tables(connection, tables)
    for table in tables:
        move = sql.SQL("alter table {} set schema {}")
        connection.execute(move.format(sql.Identifier(shadow, table.name), sql.Identifier(table.schema)))
    for _, statement in sorted(after):
        connection.execute(statement.encode())


def merge_rows(connection: psycopg.Connection[Any], shadow: str, tables: Sequence[LiveTable]) -> int:
    """Merge the rows of the shadows into the live tables; return the number of rows written."""
    return sum(_merge(connection, table, shadow_of(connection, shadow, table)) for table in tables)


def drop_tables(connection: psycopg.Connection[Any], tables: Sequence[LiveTable]) -> None:
    """Drop tables in one statement, because they may refer to each other; fail where other objects need them."""
    if tables:
        names = sql.SQL(", ").join(sql.Identifier(table.schema, table.name) for table in tables)
        connection.execute(sql.SQL("drop table if exists {}").format(names), prepare=True)  # allows one statement only


def _merge(connection: psycopg.Connection[Any], table: LiveTable, shadow: str) -> int:
    key = _key(connection, table)
    if not key:
        raise RebuildRefused(_KEYLESS.format(table.place))
    found = connection.execute(qualified(_COLUMNS), (table.oid,)).fetchall()
    columns = [name for name, is_identity in found if name in key or not is_identity]  # the live table draws its own
    changing = [name for name in columns if name not in key]
    parts = {
        "live": sql.SQL(table.place),
        "shadow": sql.SQL(shadow),
        "match": sql.SQL(" and ").join(sql.SQL("s.{c} = t.{c}").format(c=sql.Identifier(name)) for name in key),
        "columns": sql.SQL(", ").join(map(sql.Identifier, columns)),
        "changes": sql.SQL(", ").join(sql.SQL("{c} = s.{c}").format(c=sql.Identifier(name)) for name in changing),
        # As text: not every type has an equality, and 1.0 is to become 1.00.
        "theirs": sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in changing),
        "ours": sql.SQL(", ").join(sql.SQL("s.{}::text").format(sql.Identifier(name)) for name in changing),
    }
    connection.execute(qualified(_IDENTITIES), {"oid": table.oid, "place": table.place, "shadow": shadow, "key": key})
    statements = [_GONE, *([_CHANGED] if changing else []), _NEW]
    return sum(connection.execute(sql.SQL(statement).format(**parts)).rowcount for statement in statements)


def _key(connection: psycopg.Connection[Any], table: LiveTable) -> list[str]:
    row = connection.execute(qualified(_KEY), (table.oid,)).fetchone()
    return list(row[0] or ()) if row else []
