"""Each answer equals a brute-force query, also where pages and windows are small."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventkit.insights import Amount, Insights, Page, deadlines, event_search, reader
from eventkit.insights.dead_letters import letter_groups, letter_pages
from tests.insights import random_store
from tests.servers.postgres import PostgresServer

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module", params=range(3), ids="seed{}".format)
def connection(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A database that is filled at random; nothing changes it."""
    url = postgres.fresh()
    with psycopg.connect(url, autocommit=True) as filled:
        random_store.fill(filled, request.param)
        yield filled
    postgres.drop(url)


@pytest.fixture(params=["usual", "small"])
def insights(connection: Connection, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Insights:
    """The insights, also with windows of a few rows."""
    if request.param == "small":
        for module in (event_search, letter_pages, deadlines):
            monkeypatch.setattr(module, "_WINDOW", 7)
        monkeypatch.setattr(event_search, "_FEW", 3)
        monkeypatch.setattr(letter_groups, "_PAGES", 0)
        monkeypatch.setattr(event_search, "_SLACK", 2)
    return Insights(connection)


def rows(connection: Connection, query: str, *params: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    return connection.execute(query.encode(), params or None).fetchall()


def every(read: Callable[[str | None], Page[Any]]) -> list[Any]:
    """Return the items of all pages."""
    page = read(None)
    items = list(page.items)
    while page.next is not None:
        page = read(page.next)
        items += page.items
    return items


def conditions(connection: Connection, seed: int) -> Iterator[dict[str, Any]]:
    """Yield choices of events, alone and together."""
    chance = random.Random(seed)
    sample = rows(connection, "select stream, type, metadata ->> 'correlation_id', recorded_at from eventkit.events")
    for _ in range(40):
        stream, kind, story, at = chance.choice(sample)
        every_choice = {
            "stream": stream,
            "type": kind,
            "category": stream.partition("-")[0],
            "correlation_id": story,
            "since": at - timedelta(minutes=chance.randrange(9)),
            "until": at + timedelta(minutes=chance.randrange(9)),
        }
        names = chance.sample(sorted(every_choice), chance.choice((0, 1, 1, 2, 3)))
        yield {name: every_choice[name] for name in names if every_choice[name] is not None}


def test_a_search_finds_the_events_that_match_the_newest_first(connection: Connection, insights: Insights) -> None:
    """Pages of any size, one after the other, have each event that matches once."""
    sql = {
        "stream": "stream = %s",
        "type": "type = %s",
        "category": "split_part(stream, '-', 1) = %s",
        "correlation_id": "(metadata ->> 'correlation_id' = %s or id::text = %s)",
        "since": "recorded_at >= %s",
        "until": "recorded_at < %s",
    }
    for wanted in conditions(connection, 5):
        where = " and ".join([sql[name] for name in wanted] or ["true"])
        params = [value for name, value in wanted.items() for _ in range(sql[name].count("%s"))]
        expected = rows(connection, f"select position from eventkit.events where {where} order by 1 desc", *params)

        for limit in (1, 4, 100):
            found = every(lambda key: insights.events(**wanted, after=key, limit=limit))  # noqa: B023

            assert [event.position for event in found] == [position for (position,) in expected], wanted


def test_an_event_is_found_by_its_id_with_its_data_only_on_request(connection: Connection, insights: Insights) -> None:
    """Data and the user's metadata need `payload`; an id that is none finds nothing."""
    for event_id, stream, position in rows(connection, "select id, stream, position from eventkit.events limit 9"):
        (unsent,) = rows(connection, "select exists (select from eventkit.outbox where position = %s)", position)[0]
        bare, whole = insights.event(event_id), insights.event(str(event_id), payload=True)

        assert bare is not None
        assert whole is not None
        assert (bare.stream, bare.position, bare.is_unsent, bare.data, bare.metadata) == (
            stream, position, unsent, None, None,
        )  # fmt: skip
        assert whole.data == '{"amount": 1}'
        assert whole.metadata in ({}, {"note": "own"})
        assert insights.events(id=event_id).items[0].position == position
        assert not insights.events(id=event_id, type="Unknown").items
    assert insights.event("none") is None
    assert not insights.events(id="none").items


def test_a_page_with_data_ends_where_it_is_large(database_url: str) -> None:
    """Pages one after the other have each event once; a compressed event counts by the size that it has in memory."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for version, (text, size) in enumerate([("x", 800_000), ("x", 10)] * 12, start=1):
            connection.execute(
                """insert into eventkit.events (id, source, stream, version, type, schema_version, data, metadata)
                   values (gen_random_uuid(), 's', 'order-1', %s, 'T', 1, to_jsonb(repeat(%s, %s)), '{}')""",
                (version, text, size),
            )
        insights = Insights(connection)
        for stream in (None, "order-1"):
            pages = [insights.events(stream=stream, limit=100, payload=True)]
            while pages[-1].next is not None:
                pages.append(insights.events(stream=stream, after=pages[-1].next, limit=100, payload=True))

            assert [event.version for page in pages for event in page.items] == list(range(24, 0, -1))
            assert all(sum(len(event.data or "") for event in page.items) < 10_000_000 for page in pages)
            assert len(pages) > 1
            assert len(insights.events(stream=stream, limit=100).items) == 24


def test_a_causation_tree_has_every_effect_below_its_cause(connection: Connection, insights: Insights) -> None:
    """Depth and order are those of a walk from the event."""
    effects: dict[str | None, list[str]] = {}
    for event_id, cause in rows(
        connection, "select id::text, metadata ->> 'causation_id' from eventkit.events order by position"
    ):
        effects.setdefault(cause, []).append(event_id)

    def walk(event_id: str, depth: int) -> list[tuple[int, str]]:
        return [(depth, event_id), *(pair for each in effects.get(event_id, []) for pair in walk(each, depth + 1))]

    for root in effects[None][:5]:
        tree = insights.causation_tree(root)

        assert [(node.depth, node.event.id) for node in tree] == walk(root, 0)
    assert insights.causation_tree("00000000-0000-0000-0000-000000000000") == []


def test_groups_of_dead_letters_are_counted(connection: Connection, insights: Insights) -> None:
    """Each projection, cause and category once, with first, last and count; a replaced generation is stale."""
    expected = rows(
        connection,
        """select parked_by, cause, split_part(stream, '-', 1), count(*), min(parked_at), max(parked_at), max(id)
             from eventkit.dead_letters group by 1, 2, 3""",
    )

    found = insights.dead_letter_groups()

    names = {by: by.split(":")[1] if ":" in by else by for by in random_store.PARKED_BY}
    numbers = {by: int(by.split(":")[2]) if ":" in by else None for by in random_store.PARKED_BY}
    assert {
        (g.parked_by, g.generation, g.cause, g.category, g.amount.value, g.first_parked_at, g.last_parked_at, g.example)
        for g in found
    } == {(names[by], numbers[by], *rest) for by, *rest in expected}
    assert all(group.amount.is_exact for group in found)
    assert {group.generation for group in found if group.is_stale} == {9}
    assert [g.amount.value for g in found] == sorted((g.amount.value for g in found), reverse=True)


@pytest.mark.parametrize("names", [(), ("parked_by",), ("parked_by", "cause", "category"), ("stream", "type")], ids=str)
def test_pages_of_dead_letters_have_each_letter_once(
    connection: Connection, insights: Insights, names: tuple[str, ...]
) -> None:
    """By any choice, in pages of any size, the newest first."""
    columns = {"parked_by": "by_name", "cause": "cause", "category": "category", "stream": "stream", "type": "type"}
    letters = rows(
        connection,
        """select id, coalesce(nullif(split_part(parked_by, ':', 2), ''), parked_by) as by_name, cause,
                  split_part(stream, '-', 1) as category, stream, type from eventkit.dead_letters order by id desc""",
    )
    places = {name: number for number, name in enumerate(["id", *columns])}
    choices = {tuple(letter[places[name]] for name in names) for letter in letters}
    for values in sorted(choices):
        wanted = dict(zip(names, values, strict=True))
        expected = [x[0] for x in letters if all(x[places[name]] == value for name, value in wanted.items())]

        for limit in (2, 100):
            found = every(lambda key: insights.dead_letters(**wanted, after=key, limit=limit))  # noqa: B023

            assert [letter.id for letter in found] == expected


def test_a_dead_letter_says_how_many_events_wait_behind_it(connection: Connection, insights: Insights) -> None:
    """At the relay the later events of the stream, else the later letters of the stream."""
    for letter_id, by, stream, version in rows(
        connection, "select id, parked_by, stream, version from eventkit.dead_letters"
    ):
        table, of = ("events", "") if by == "relay" else ("dead_letters", f"parked_by = '{by}' and ")
        query = f"select count(*) from eventkit.{table} where {of} stream = %s and version > %s"
        ((behind,),) = rows(connection, query, stream, version)

        letter = insights.dead_letter(letter_id)

        assert letter is not None
        assert letter.behind is not None
        assert (letter.behind.value, letter.behind.is_exact) == (behind, True)
    assert insights.dead_letter(10**9) is None


def test_deadlines_are_counted_and_paged(connection: Connection, insights: Insights) -> None:
    """Due by the database's clock; pages in order of time, stream and name."""
    expected = rows(connection, "select stream, name from eventkit.timers order by due_at, stream, name")
    ((due, following, oldest),) = rows(
        connection,
        """select count(*) filter (where due_at <= now()), min(due_at) filter (where due_at > now()), min(due_at)
             from eventkit.timers""",
    )

    timers = insights.timers()

    assert (timers.due.value, timers.overdue.value, timers.waiting.value) == (due, due, len(expected) - due)
    assert (timers.next_due_at, timers.oldest_overdue_at) == (following, oldest if due else None)
    found = every(lambda key: insights.timers_page(after=key, limit=3))
    assert [(timer.stream, timer.name) for timer in found] == expected
    of_orders = every(lambda key: insights.timers_page(category="order", after=key, limit=3))
    assert [timer.stream for timer in of_orders] == [s for s, _ in expected if s.startswith("order-")]


def test_the_lag_of_a_projection_is_the_events_above_its_checkpoints(
    connection: Connection, insights: Insights
) -> None:
    """Parked streams and foreign categories do not count; the age is that of the oldest such event."""
    found = {item.name: item for item in every(lambda key: insights.projections(after=key, limit=1))}

    assert sorted(found) == ["board", "fresh", "totals"]
    assert found["fresh"].lag_events is None  # it reads all categories, and has applied none
    for name, generation in (("totals", 1), ("board", 2)):
        missing = rows(
            connection,
            """select e.recorded_at from eventkit.events e join eventkit.projections p on p.name = %s
                 left join eventkit.checkpoints c on c.generation = p.generation and c.stream = e.stream
                where e.version > coalesce(c.version, 0) and not coalesce(c.parked, false)
                  and (split_part(e.stream, '-', 1) = any(p.categories) or p.categories = '{}' and exists (
                    select from eventkit.checkpoints k where k.generation = p.generation
                       and split_part(k.stream, '-', 1) = split_part(e.stream, '-', 1)))""",
            name,
        )
        ((parked, letters),) = rows(
            connection,
            f"""select (select count(*) from eventkit.checkpoints where generation = {generation} and parked),
                (select count(*) from eventkit.dead_letters where parked_by = 'projection:{name}:{generation}')""",
        )
        item = found[name]
        age = (datetime.now(UTC) - min(at for (at,) in missing)).total_seconds() if missing else 0.0

        assert item.lag_events is not None
        assert (item.lag_events.value, item.lag_events.is_exact) == (len(missing), True)
        assert item.lag_seconds == pytest.approx(age, abs=60)
        assert (item.parked_streams.value, item.dead_letters.value) == (parked, letters)
        assert insights.projection(name, exact=True) is not None
    assert insights.projection("unknown") is None


def test_a_stream_says_how_far_projections_have_applied_it(connection: Connection, insights: Insights) -> None:
    """Its version, the checkpoints of live generations, its letters."""
    for stream, version in rows(connection, "select stream, version from eventkit.streams"):
        places = rows(
            connection,
            """select p.name, c.version, c.parked from eventkit.checkpoints c
                 join eventkit.projections p using (generation) where stream = %s order by 1""",
            stream,
        )
        ((letters,),) = rows(connection, "select count(*) from eventkit.dead_letters where stream = %s", stream)

        found = insights.stream(stream)

        assert found is not None
        assert (found.version, found.dead_letters.value) == (version, letters)
        assert [(place.projection, place.version, place.is_parked) for place in found.places] == places
    assert insights.stream("order-none") is None


def test_actions_of_both_kinds_come_in_one_order(connection: Connection, insights: Insights) -> None:
    """Pages have each action once, the newest first."""
    expected = rows(
        connection,
        """select 'letter:' || id, at from eventkit.dead_letter_actions
           union all select 'operator:' || id, at from eventkit.operator_actions""",
    )

    for limit in (1, 5, 100):
        found = every(lambda key: insights.actions(after=key, limit=limit))  # noqa: B023

        assert Counter(action.id for action in found) == Counter(key for key, _ in expected)
        assert [action.at for action in found] == sorted((at for _, at in expected), reverse=True)


def test_unsent_events_behind_a_dead_letter_of_the_relay_are_not_the_oldest(
    connection: Connection, insights: Insights
) -> None:
    """They wait for an operator; they count as unsent."""
    ((unsent, oldest),) = rows(
        connection,
        """select count(*), min(recorded_at) filter (where not exists (select from eventkit.dead_letters d
             where d.parked_by = 'relay' and d.stream = e.stream and d.position <= e.position))
             from eventkit.outbox join eventkit.events e using (position)""",
    )

    relay = insights.relay()

    assert (relay.unsent.value, relay.oldest_unsent_at) == (unsent, oldest)
    assert relay.parts_without_relay == (0,)


def test_every_answer_can_be_written_as_json(insights: Insights) -> None:
    """Times and other values become text; the tables' sizes and the settings are among the answers."""
    answers: list[Any] = [insights.relay(), insights.timers(), insights.sizes(), *insights.settings()]
    answers += [insights.projections(), insights.events(), insights.dead_letters(), insights.actions()]
    answers += [*insights.dead_letter_groups(), insights.processes(), *insights.attention()]

    assert all(json.dumps(asdict(answer), default=str) for answer in answers)
    assert {table.name for table in insights.sizes().tables} >= {"events", "outbox", "processes"}


def test_no_setting_of_the_callers_session_changes_an_answer(connection: Connection, insights: Insights) -> None:
    """Nor does one make an answer fail: psycopg reads times in text only as ISO writes them."""

    def answers() -> list[Any]:
        return [
            insights.events(payload=True),
            insights.dead_letters(payload=True),
            insights.actions(),
            insights.timers(),
        ]

    expected = answers()
    with connection.transaction(force_rollback=True):
        for setting in ("datestyle = 'German'", "intervalstyle = 'sql_standard'", "bytea_output = 'escape'"):
            connection.execute(f"set local {setting}".encode())
        assert answers() == expected


def test_above_the_limit_an_amount_is_an_estimate_unless_it_is_to_be_exact(
    connection: Connection,
) -> None:
    """The estimate is at least the limit."""
    few = reader.InsightReader(connection, "eventkit")
    connection.execute("analyze")
    ((letters,),) = rows(connection, "select count(*) from eventkit.dead_letters")

    capped = few.amount("select from {s}.dead_letters", most=10)

    assert not capped.is_exact
    assert capped.value >= 10
    assert few.amount("select from {s}.dead_letters", most=10, exact=True) == Amount(value=letters, is_exact=True)


@pytest.mark.parametrize("key", ["x", "", "WzEsMl0", "e30", "ÿ", "W251bGxd", "WyIxIl0"])
def test_a_key_of_another_list_is_refused(insights: Insights, key: str) -> None:
    """A page's key is opaque; a made-up one is an error in words and never an error of SQL."""
    with pytest.raises(ValueError, match="is no key of this list"):
        insights.events(after=key)


@pytest.mark.parametrize("limit", [0, -1, 1_001, True, "5"])
def test_a_limit_is_a_number_up_to_a_thousand(insights: Insights, limit: Any) -> None:  # noqa: ANN401 wrong on purpose
    """No page is unbounded."""
    with pytest.raises(ValueError, match="from 1 to 1000"):
        insights.dead_letters(limit=limit)


def test_the_program_of_the_page_runs(connection: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands in docs/insights.md."""
    page = (Path(__file__).parents[2] / "docs" / "insights.md").read_text()
    [program] = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    url = f"postgresql:///{connection.info.dbname}?host={connection.info.host}&port={connection.info.port}"
    url += f"&user={connection.info.user}&password={connection.info.password}"

    exec(program, {"database_url": url})  # noqa: S102 our own page

    assert "totals" in capsys.readouterr().out
