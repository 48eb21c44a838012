"""The benchmark of the codec, in a short form."""

import json
import subprocess
import sys


def test_the_cost_of_an_event_depends_little_on_its_content() -> None:
    """Texts that look like numbers once cost up to 70 times a plain event; on an idle machine it is below 1.5."""
    words = [sys.executable, "-m", "benchmarks", "codec", "--rounds", "3", "--seconds", "0.005", "--json"]

    done = subprocess.run(words, capture_output=True, text=True, timeout=240, check=True)

    assert json.loads(done.stdout.splitlines()[-1])["codec_worst_ratio"] < 5, done.stdout
