"""The jars of servers: fetched once by Maven into `.servers/`, or from a folder that is named.

EVENTKIT_TEST_KAFKA_JARS, EVENTKIT_TEST_ACTIVEMQ_JARS and EVENTKIT_TEST_DEBEZIUM_JARS name such a folder,
EVENTKIT_TEST_APICURIO_JARS that of Apicurio, unpacked.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.servers import ServerMissing

KAFKA_VERSION = "4.3.1"
ACTIVEMQ_VERSION = "6.1.7"
APICURIO_VERSION = "3.0.9"  # 3.1 and later want JDK 21
DEBEZIUM_VERSION = "3.6.1.Final"  # on Kafka Connect of Kafka's release
CACHES = Path(os.environ.get("EVENTKIT_TEST_SERVERS_CACHE", Path(__file__).parents[2] / ".servers"))
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # half the processor time of a start, less of a long run's rate
COMPLETE = "complete"  # this file is written last


class Jars:
    """The jars of one server, in one release."""

    def __init__(self, title: str, name: str, version: str) -> None:
        self.title = f"{title} {version}"
        self._pom = Path(__file__).with_name(f"{name}-pom.xml")
        self._cache = CACHES / f"{name}-{version}"
        self._given = os.environ.get(f"EVENTKIT_TEST_{name.upper()}_JARS")

    def folder(self) -> Path:
        """Return the folder they are in; ServerMissing when they cannot be run."""
        if not shutil.which("java"):
            raise ServerMissing(
                f"{self.title} needs Java: install a JDK 17 (Debian: `apt-get install openjdk-17-jre-headless`)"
            )
        if self._given:
            return Path(self._given)
        if not (self._cache / COMPLETE).exists():
            raise ServerMissing(
                f"{self.title}: its jars are not here: run `python -m tests.servers fetch` (needs Maven, `mvn`)"
            )
        return self._cache

    def fetch(self) -> Path:
        """Fetch them."""
        return fetch(self._pom, self._cache, self.title)


class Archive(Jars):
    """The jars of one server that are one archive, whose pom names a parent that is not published."""

    def __init__(self, title: str, name: str, version: str, artifact: str) -> None:
        super().__init__(title, name, version)
        self._artifact = artifact

    def fetch(self) -> Path:
        """Fetch and unpack the archive."""
        folder = self._cache
        if (folder / COMPLETE).exists():
            return folder
        _maven(self.title, "dependency:copy", f"-Dartifact={self._artifact}", f"-DoutputDirectory={folder}")
        [archive] = folder.glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        archive.unlink()
        (folder / COMPLETE).touch()
        return folder


def fetch(pom: Path, folder: Path, what: str) -> Path:
    """Let Maven copy the jars that a pom names into a folder, unless they are there."""
    if (folder / COMPLETE).exists():
        return folder
    _maven(what, "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}")
    (folder / COMPLETE).touch()
    return folder


def _maven(what: str, *arguments: str) -> None:
    maven = shutil.which("mvn")
    if not maven:
        raise ServerMissing(
            f"the jars of {what} come through Maven: install it (Debian: `apt-get install maven`) and fetch again"
        )
    fetched = subprocess.run([maven, "-q", "-B", *arguments], capture_output=True, text=True, check=False)
    if fetched.returncode:
        raise ServerMissing(f"Maven could not fetch {what}: {fetched.stdout[-1500:]}{fetched.stderr[-500:]}")


DEBEZIUM = Jars("Debezium", "debezium", DEBEZIUM_VERSION)
KAFKA = Jars("Apache Kafka", "kafka", KAFKA_VERSION)
ACTIVEMQ = Jars("ActiveMQ", "activemq", ACTIVEMQ_VERSION)
APICURIO = Archive(
    "Apicurio Registry",
    "apicurio",
    APICURIO_VERSION,
    f"io.apicurio:apicurio-registry-app:{APICURIO_VERSION}:tar.gz:all",
)
