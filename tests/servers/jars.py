"""Apache Kafka's jars: fetched once by Maven into `.servers/`, or from the folder EVENTKIT_TEST_KAFKA_JARS."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.servers import ServerMissing

KAFKA_VERSION = "4.3.1"
POM = Path(__file__).with_name("kafka-pom.xml")
CACHES = Path(os.environ.get("EVENTKIT_TEST_SERVERS_CACHE", Path(__file__).parents[2] / ".servers"))
CACHE = CACHES / f"kafka-{KAFKA_VERSION}"
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
    """Fetch Apache Kafka."""
    return fetch(POM, CACHE, f"Apache Kafka {KAFKA_VERSION}")


def fetch(pom: Path, folder: Path, what: str) -> Path:
    """Let Maven copy the jars that a pom names into a folder, unless they are there."""
    if (folder / COMPLETE).exists():
        return folder
    maven = shutil.which("mvn")
    if not maven:
        raise ServerMissing(
            f"the jars of {what} come through Maven: install it (Debian: `apt-get install maven`) and fetch again"
        )
    command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    fetched = subprocess.run(command, capture_output=True, text=True, check=False)
    if fetched.returncode:
        raise ServerMissing(f"Maven could not fetch {what}: {fetched.stdout[-1500:]}{fetched.stderr[-500:]}")
    (folder / COMPLETE).touch()
    return folder
