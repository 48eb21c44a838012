"""TLS and passwords, on real servers: a URL and options lead in, errors are clear, and no password is shown."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import psutil  # type: ignore[import-untyped]
import pytest

from eventkit.errors import ConfigurationError, TransportUnavailable
from eventkit.transports import open_transport
from eventkit.transports.buffer import Buffer
from tests.transports.contract import fresh, joined
from tests.transports.secured import BROKERS, PASSWORD, Secured
from tests.transports.traffic import deliver, in_order, messages, number, read
from tests.waiting import wait_until

WRONG = "wr0ng-w0rd"
REFUSED = (ConfigurationError, TransportUnavailable)


@pytest.fixture(scope="module", params=BROKERS)
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker of this module's own that speaks TLS and knows one user; skipped where the session's is."""
    request.getfixturevalue(request.param)
    secured = BROKERS[request.param](tmp_path_factory.mktemp("secured"))
    secured.server.start()
    yield secured
    secured.server.stop()


def test_a_url_and_options_lead_in(secured: Secured) -> None:
    """With TLS and a password, messages go out and come back as without."""
    transport = open_transport(secured.url(), secured.options)
    topic = transport.create_topics([fresh("topic")], partitions=2)[0]
    group = joined(transport, topic, fresh("group"))

    reports = deliver(transport.publisher(), messages(topic, 1_200))
    with closing(transport.subscribe([topic], group)) as subscription:
        received = read(subscription, 1_200)

    assert len(reports.confirmed) == 1_200
    assert sorted(map(number, received)) == list(range(1_200))


def test_messages_that_fill_a_members_buffer_arrive_in_order(secured: Secured) -> None:
    """A member that has stopped reading finds what TLS had decrypted before, and the rest."""
    transport = open_transport(secured.url(), secured.options)
    topic = transport.create_topics([fresh("topic")], partitions=2)[0]
    group = joined(transport, topic, fresh("group"))
    deliver(transport.publisher(), messages(topic, 40, size=880_000))

    with closing(transport.subscribe([topic], group)) as subscription:
        buffer = getattr(subscription, "_arrived", None)  # of a broker that pushes
        if isinstance(buffer, Buffer):
            wait_until(lambda: buffer.is_full, what="a full buffer")
        received = read(subscription, 40, limit=5)

    assert sorted(map(number, received)) == list(range(40))
    assert in_order(received)


def test_a_wrong_password_is_an_error(secured: Secured) -> None:
    """With the place, and without the password."""
    with pytest.raises(REFUSED, match=f"(?i){secured.port}.*(password|login|auth)") as refused:
        open_transport(secured.url(password=WRONG), secured.options).check()

    assert WRONG not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_an_untrusted_certificate_is_an_error(secured: Secured) -> None:
    """The server may be anybody: nothing is sent to it."""
    with pytest.raises(REFUSED, match=f"(?i){secured.port}.*certificate") as refused:
        open_transport(secured.url()).check()

    assert PASSWORD not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_a_certificate_of_another_host_is_refused(secured: Secured) -> None:
    """The certificate is good, for 127.0.0.1; 127.1 leads to it too and is not its name: no login is sent there."""
    with pytest.raises(REFUSED) as refused:
        open_transport(secured.url().replace("127.0.0.1", "127.1"), secured.options).check()

    assert PASSWORD not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize(("password", "code"), [(PASSWORD, 0), (WRONG, 1)])
def test_a_password_is_in_no_output_and_no_list_of_processes(secured: Secured, password: str, code: int) -> None:
    """A command that works and one that is refused keep it to themselves."""
    options = {f"EVENTKIT_TRANSPORT_OPTION_{name.replace('.', '_')}": text for name, text in secured.options.items()}
    environment = {**os.environ, **options, "EVENTKIT_TRANSPORT_URL": secured.url(password=password)}
    command = [sys.executable, "-m", "eventkit.cli", "--log-format", "json", "topics", "create", fresh("topic")]
    told: list[str] = []

    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while process.poll() is None:
            told += [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
        told.append(process.stdout.read() if process.stdout else "")

    assert process.returncode == code, told[-1]
    assert any("topics create" in line for line in told)
    assert password not in "".join(told)
