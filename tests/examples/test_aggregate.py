"""The example of an aggregate does as it says."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from examples.aggregate import accounts

ROOT = Path(__file__).parents[2]


def test_the_account_pays_within_its_balance_and_refuses_the_rest(database_url: str) -> None:
    """Two events are committed; the refused withdrawal left nothing."""
    environment = {**os.environ, "EVENTKIT_DATABASE_URL": database_url}

    ran = subprocess.run(
        [sys.executable, "-m", "examples.aggregate"],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert ran.stdout == "refused: account-ada has 40, not 60\n"
    with psycopg.connect(database_url) as connection:
        account = accounts.load(connection, "ada")
    assert (account.balance, account.version) == (40, 2)
