"""The cost of an import: a service that only appends must not pay for the relay, the migrations or the command line."""

import subprocess
import sys

HEAVY = ("alembic", "click", "confluent_kafka", "pandas", "pydantic", "rich", "sqlalchemy")


def test_importing_eventkit_loads_no_broker_client_no_alembic_and_no_command_line() -> None:
    """`import eventkit` is light: it loads the domain alone, the rest comes at its first use."""
    program = f"import sys, eventkit; print([name for name in {HEAVY} if name in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    """Each name of `eventkit.__all__` can be imported, also those that come at their first use."""
    program = "import eventkit; print([name for name in eventkit.__all__ if not hasattr(eventkit, name)])"

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ran.stdout.strip() == "[]", ran.stderr


def test_every_public_name_is_there_without_greenlet() -> None:
    """Without the extra `asyncio` there are no async sessions, and everything else is as it is with it."""
    program = (
        "import sys; sys.modules['greenlet'] = None; import eventkit; "
        "print([name for name in eventkit.__all__ if not hasattr(eventkit, name)])"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ran.stdout.strip() == "[]", ran.stderr
