"""`eventkit privacy`: its question, its effect and its record."""

import json

import psycopg
import pytest
from click.testing import CliRunner, Result

from eventkit import EventStore
from eventkit.cli import main
from eventkit.domain.master_keys import MasterKeys
from tests.storage.people import ADA, REDACTED, REGISTERED, crm

OLD, NEW = MasterKeys.generate("old"), MasterKeys.generate("new")


@pytest.fixture
def url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with a customer, and the settings of a service."""
    monkeypatch.setenv("EVENTKIT_DATABASE_URL", database_url)
    monkeypatch.setenv("EVENTKIT_MASTER_KEYS", OLD)
    with psycopg.connect(database_url) as connection:
        EventStore(crm, master_keys=MasterKeys.parse(OLD)).append(connection, ADA, REGISTERED)
    return database_url


def run(*arguments: str, answer: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["privacy", *arguments], input=answer)


def read(url: str, keys: str = OLD) -> object:
    """Return the customer's event."""
    with psycopg.connect(url) as connection:
        return next(EventStore(crm, master_keys=MasterKeys.parse(keys)).read_stream(connection, ADA)).event


def test_forget_asks_first_and_records_who_did_it_and_why(url: str) -> None:
    """The question says since when there is a key; no is no."""
    refused = run("forget", ADA, answer="n\n")
    assert (refused.exit_code, read(url)) == (1, REGISTERED)
    assert "Forget customer-42 for ever? (it has a key since" in refused.stderr

    done = run("forget", ADA, "--reason", "asked on the phone", answer="y\n")

    assert done.exit_code == 0
    assert "customer-42 is forgotten; recorded for " in done.stdout
    assert read(url) == REDACTED
    with psycopg.connect(url) as connection:
        row = connection.execute("select reason, forgotten_by like '%@%', key from eventkit.subject_keys").fetchone()
    assert row == ("asked on the phone", True, None)


def test_forgetting_twice_says_when_it_was_done(url: str) -> None:
    """Without asking, and a script gets the record."""
    run("forget", ADA, "--yes")

    again = run("forget", ADA)
    result = json.loads(run("forget", ADA, "--json").stdout)

    assert (again.exit_code, "was forgotten at " in again.stdout) == (0, True)
    assert (result["subject"], result["forgotten_now"], result["reason"]) == (ADA, False, None)
    assert read(url) == REDACTED


@pytest.mark.usefixtures("url")
def test_somebody_without_personal_data_is_forgotten_in_advance() -> None:
    """The question says so: a slip of the pen is noticed."""
    asked = run("forget", "customer-43", answer="n\n")

    assert "it has no personal data yet: none will be taken" in asked.stderr
    assert run("forget", "customer-43", "--yes").exit_code == 0


def test_a_master_key_is_rotated_in_three_steps(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one, put it first, rotate; status says when the old one may go."""
    made = run("new-key", "2027").stdout.strip()
    assert MasterKeys.parse(made).current == "2027"
    monkeypatch.setenv("EVENTKIT_MASTER_KEYS", f"{NEW},{OLD}")
    before = json.loads(run("status", "--json").stdout)

    done = run("rotate")

    assert before == {"keys": {"old": 1, "new": 0}, "forgotten": 0, "current": "new"}
    assert (done.exit_code, done.stdout) == (0, "1 keys are wrapped by new now\n")
    assert run("status").stdout == "master key new (current): wraps 1 keys\nforgotten: 0 subjects\n"
    assert read(url, NEW) == REGISTERED


def test_keys_in_use_are_kept_and_reported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1: run it again."""
    monkeypatch.setenv("EVENTKIT_MASTER_KEYS", f"{NEW},{OLD}")
    with psycopg.connect(url) as appending:
        EventStore(crm, master_keys=MasterKeys.parse(OLD)).append(appending, ADA, REGISTERED)

        left = run("rotate")
        script = run("rotate", "--json")

    assert (left.exit_code, "1 keys were held by open transactions" in left.stderr) == (1, True)
    assert (script.exit_code, json.loads(script.stdout)["left"]) == (1, 1)


@pytest.mark.parametrize(
    ("keys", "arguments", "words"),
    [
        ("", ["rotate"], "no master key is given: set EVENTKIT_MASTER_KEYS"),
        ("x:y", ["rotate"], "master key number 1 cannot be read"),
        (NEW, ["rotate"], "wrapped by the master key 'old', which is not among those given (new)"),
        (OLD, ["forget", "a\tb", "--yes"], "subject 'a\\tb' cannot be recorded"),
        (OLD, ["new-key", "a b"], "master key 'a b' cannot be used"),
    ],
    ids=["none", "unreadable", "another", "subject", "name"],  # a key is another in each process that runs tests
)
def test_wrong_input_is_one_sentence_without_a_key(
    url: str, monkeypatch: pytest.MonkeyPatch, keys: str, arguments: list[str], words: str
) -> None:
    """And nothing is done."""
    monkeypatch.setenv("EVENTKIT_MASTER_KEYS", keys)

    result = run(*arguments)

    assert result.exit_code in (1, 2)
    assert words in result.stderr
    assert OLD.partition(":")[2] not in result.output
    assert read(url) == REGISTERED


def test_master_keys_may_be_in_a_file_but_not_among_the_settings(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As a mounted secret is; a settings file is shared, so it refuses them."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "keys").write_text(f"{NEW},\n{OLD}\n")
    monkeypatch.delenv("EVENTKIT_MASTER_KEYS")
    monkeypatch.setenv("EVENTKIT_MASTER_KEYS_FILE", str(folder / "keys"))
    assert run("rotate").exit_code == 0
    assert read(url, NEW) == REGISTERED

    monkeypatch.setenv("EVENTKIT_MASTER_KEYS_FILE", str(folder / "nothing"))
    assert "nothing cannot be read" in run("rotate").stderr
    (folder / "eventkit.toml").write_text(f'master_keys = "{NEW}"\n')
    monkeypatch.chdir(folder)
    assert "eventkit.toml sets master_keys, which eventkit does not know" in run("status").stderr


def test_a_destroyed_key_leaves_the_table(url: str) -> None:
    """The command vacuums: of the row there is one version left, the one without a key."""
    with psycopg.connect(url, autocommit=True) as session:
        try:
            session.execute("create extension pageinspect")
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this PostgreSQL has no pageinspect: install its contrib package")

        done = run("forget", str(ADA), "--yes")

        left = session.execute(
            "select count(*) from heap_page_items(get_raw_page('eventkit.subject_keys', 0)) where t_ctid is not null"
        ).fetchone()

    assert (done.exit_code, done.stderr) == (0, "")
    assert left == (1,)
