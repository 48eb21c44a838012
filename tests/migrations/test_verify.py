"""`eventkit db verify` names each thing that differs between a database and the declared tables."""

import psycopg
import pytest
from sqlalchemy.engine import make_url

from eventkit.storage.schema import verify

# an operator's change -> the finding of verify
DIFFERENCES = {
    "drop table eventkit.leases": ["table leases is missing"],
    "create table eventkit.mine (id int primary key)": ["table mine is not ours"],
    "create view eventkit.recent as select 1 as one": ["table recent is not ours"],
    "alter table eventkit.outbox drop column shard": ["column outbox.shard is missing"],
    "alter table eventkit.outbox add column mine int": ["column outbox.mine is not ours"],
    "alter table eventkit.outbox alter column bytes type bigint": [
        "column outbox.bytes is 'bigint not null', must be 'integer not null'"
    ],
    "alter table eventkit.outbox alter column topic drop not null": [
        "column outbox.topic is 'text', must be 'text not null'"
    ],
    "alter table eventkit.events alter column recorded_at set default now()": [
        (
            "column events.recorded_at is 'timestamp with time zone not null default now()', "
            "must be 'timestamp with time zone not null default clock_timestamp()'"
        )
    ],
    'alter table eventkit.dead_letters alter column stream type text collate "POSIX"': [
        "column dead_letters.stream is 'text collate POSIX not null', must be 'text collate C not null'"
    ],
    "alter table eventkit.events drop constraint events_stream_version_key": [
        "constraint events.events_stream_version_key is missing"
    ],
    "alter table eventkit.events drop constraint events_version_check, "
    "add constraint events_version_check check (version >= 0)": [
        "constraint events.events_version_check is 'CHECK (version >= 0)', must be 'CHECK (version > 0)'"
    ],
    "alter table eventkit.outbox add constraint mine check (shard > 0) not valid": [
        "constraint outbox.mine is not ours"
    ],
    "drop index eventkit.dead_letters_parked_by_stream_cause_idx": [
        "index dead_letters.dead_letters_parked_by_stream_cause_idx is missing"
    ],
    "create index mine on eventkit.events (type)": ["index events.mine is not ours"],
    "update pg_index set indisvalid = false "
    "where indexrelid = 'eventkit.dead_letters_parked_by_stream_cause_idx'::regclass": [
        (
            "index dead_letters.dead_letters_parked_by_stream_cause_idx is 'btree (parked_by, stream, cause) invalid', "
            "must be 'btree (parked_by, stream, cause)'"
        )
    ],
    "drop trigger events_append_only on eventkit.events": ["trigger events.events_append_only is missing"],
    "create or replace function eventkit.refuse_change() returns trigger language plpgsql "
    "as 'begin return null; end'": ["function refuse_change has another body than ours"],
    "alter table eventkit.outbox reset (autovacuum_vacuum_threshold)": [
        (
            "storage of outbox is 'autovacuum_analyze_scale_factor=0.0, autovacuum_analyze_threshold=50000, "
            "autovacuum_vacuum_cost_delay=0, autovacuum_vacuum_scale_factor=0.0', must be "
            "'autovacuum_analyze_scale_factor=0.0, autovacuum_analyze_threshold=50000, autovacuum_vacuum_cost_delay=0, "
            "autovacuum_vacuum_scale_factor=0.0, autovacuum_vacuum_threshold=10000'"
        )
    ],
    "alter table eventkit.outbox set unlogged": ["table outbox is 'unlogged', must be 'nothing'"],
    "alter table eventkit.events enable row level security": ["row security of events is not ours"],
    "comment on table eventkit.streams is 'mine'": [
        (
            "comment of streams is 'mine', must be 'A stream, its version, and how far its events were pruned, "
            "with their digest; closed: archived.'"
        )
    ],
    "alter table eventkit.events alter column position set cache 10": [
        (
            "the identity of eventkit.events.position has a cache of 10, which reorders events: run "
            '`alter table "eventkit".events '
            "alter column position set cache 1`"
        )
    ],
    "alter table eventkit.events alter column position set increment by 2": [
        (
            'the identity of eventkit.events.position has an increment of 2: run `alter table "eventkit".events '
            "alter column position set increment by 1`"
        )
    ],
    "alter table eventkit.events alter column position set cycle": [
        (
            "the identity of eventkit.events.position restarts at its end, and numbers repeat: run "
            '`alter table "eventkit".events alter column position set no cycle`'
        )
    ],
    "insert into eventkit.events overriding system value "
    "values (7, gen_random_uuid(), 's', 'a-1', 1, 'T', 1, '{}', '{}')": [
        (
            "the identity of eventkit.events.position is at 0, behind the highest position 7: run "
            '`alter table "eventkit".events alter column position restart with 8`'
        )
    ],
    "alter table eventkit.events alter column position set generated by default": [
        "column events.position is 'bigint not null by default identity', must be 'bigint not null always identity'"
    ],
    "alter table eventkit.events alter column position drop identity": [
        "column events.position is 'bigint not null', must be 'bigint not null always identity'",
        (
            "eventkit.events.position is no identity column: positions would come in any order; "
            "restore it as its migration made it"
        ),
    ],
    "delete from eventkit.eventkit_version": [],
    "update eventkit.eventkit_version set version_num = 'eventkit_9999'": [
        (
            "schema 'eventkit' is at revision eventkit_9999, newer than this eventkit, which knows eventkit_0001: "
            "install the version of eventkit that upgraded the database"
        )
    ],
}


@pytest.mark.parametrize("change", DIFFERENCES)
def test_verify_names_each_difference(database_url: str, change: str) -> None:
    """Each change of the tables is named, with the found and the expected state, and nothing else is."""
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(change)

    assert verify.differences(database_url, "eventkit") == DIFFERENCES[change]


@pytest.mark.parametrize(
    ("state", "said"), [("disable", "disabled"), ("enable", "not always"), ("enable replica", "not always")]
)
def test_verify_names_a_trigger_that_does_not_always_fire(database_url: str, state: str, said: str) -> None:
    """A trigger that is off, or off under replication, is as good as missing and is named."""
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(f"alter table eventkit.events {state} trigger events_append_only")

    [difference] = verify.differences(database_url, "eventkit")

    assert f"refuse_change() {said}', must be" in difference


def test_verify_of_an_empty_database_says_one_thing(empty_database_url: str) -> None:
    """Where there is nothing, the advice is to upgrade, not a list of all tables."""
    assert verify.differences(empty_database_url, "eventkit") == [
        "schema 'eventkit' is missing: run `eventkit db upgrade`"
    ]


def test_verify_needs_no_right_to_write(database_url: str) -> None:
    """A role that may only read the schema can verify it."""
    role = "watcher_" + str(make_url(database_url).database)[-12:]
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(f"create role {role} login")
        session.execute(f"grant usage on schema eventkit to {role}")
        session.execute(f"grant select on all tables in schema eventkit to {role}")

    found = verify.differences(database_url.replace("postgres@", f"{role}@"), "eventkit")

    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(f"drop owned by {role}")
        session.execute(f"drop role {role}")
    assert found == []
