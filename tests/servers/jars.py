"""Apache Kafka's jars: fetched once by Maven into `.servers/`, or from the folder EVENTKIT_TEST_KAFKA_JARS."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers import ServerMissing

KAFKA_VERSION = "4.3.1"
POM = Path(__file__).with_name("kafka-pom.xml")
DEFAULT_CACHE = Path(__file__).parents[2] / ".servers"
CACHE = Path(os.environ.get("EVENTKIT_TEST_SERVERS_CACHE", DEFAULT_CACHE)) / f"kafka-{KAFKA_VERSION}"
COMPLETE = "complete"  # this file is written last


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars."""
    folder = Path(os.environ.get("EVENTKIT_TEST_KAFKA_JARS", CACHE))
    if not shutil.which("java"):
        raise ServerMissing(
            "Apache Kafka needs Java: install a JDK 17 (Debian: `apt-get install openjdk-17-jre-headless`)"
        )
    if folder == CACHE and not (CACHE / COMPLETE).exists():
        raise ServerMissing(
            "Apache Kafka's jars are not here: run `python -m tests.servers fetch` (needs Maven, `mvn`)"
        )
    return folder


def fetch_kafka() -> Path:
    """Let Maven copy the jars into the cache, unless they are there."""
    if (CACHE / COMPLETE).exists():
        return CACHE
    maven = shutil.which("mvn")
    if not maven:
        raise ServerMissing(
            "Apache Kafka's jars come through Maven: install it (Debian: `apt-get install maven`) and fetch again"
        )
    command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={CACHE}"]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode:
        raise ServerMissing(
            f"Maven could not fetch Apache Kafka {KAFKA_VERSION}: {fetched.stdout[-1500:]}{fetched.stderr[-500:]}"
        )
    (CACHE / COMPLETE).touch()
    return CACHE
