"""A plugin of pytest for runs under hostile settings: skips the tests that cannot run there, and reports at the end."""

from collections import Counter

import pytest

# The beginning of a test's name, and why it says nothing about eventkit under hostile settings.
LEFT_OUT = {
    "tests/surroundings/test_hostile_role.py": "it compares a hostile role of its own with a sane one",
    "tests/cli/test_conventions.py::test_help_of_any_command_loads_nothing_heavy": "the run itself loads psycopg",
    "tests/testing/test_plugin.py::test_the_plugin_costs_a_test_run_nothing": "the run itself loads psycopg",
    "tests/storage/db/test_connection.py::test_a_role_that_is_read_only_by_default_is_written_to": (
        "it reads the line that names overruled settings, which the run leaves out"
    ),
    "tests/projection/test_inline_append.py::test_one_event_is_five_statements_each_planned_once": (
        "in another time zone than UTC there are two statements more, which set and reset it"
    ),
    **dict.fromkeys(
        (
            "tests/storage/db/test_standby_and_pooler.py::test_a_pooler_",
            "tests/storage/db/test_standby_and_pooler.py::test_a_role_that_is_read_only_",
            "tests/storage/db/test_standby_and_pooler.py::test_a_shared_session_",
            "tests/storage/db/test_standby_and_pooler.py::test_writers_behind_a_pooler_",
        ),
        "PgBouncer takes no settings at the start, so a limit of a millisecond ends its sessions before they are used",
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that are left out."""
    for item in items:
        reasons = [reason for name, reason in LEFT_OUT.items() if item.nodeid.startswith(name)]
        item.add_marker(pytest.mark.skipif(bool(reasons), reason=f"under hostile settings: {''.join(reasons[:1])}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what ran, room by room, and name each test that is left out with its reason."""
    terminalreporter.section("under hostile settings")
    for outcome in ("passed", "failed", "error"):
        names = [report.nodeid for report in terminalreporter.stats.get(outcome, [])]
        rooms = Counter("/".join(name.split("/")[:2]) for name in names)
        counts = ", ".join(f"{room} {count}" for room, count in sorted(rooms.items()))
        terminalreporter.line(f"{outcome}: {len(names)}  {counts}")
    for name, reason in LEFT_OUT.items():
        terminalreporter.line(f"left out: {name}: {reason}")
