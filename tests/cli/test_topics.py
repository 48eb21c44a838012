"""`eventkit topics` on a real Kafka: created topics, existing topics, and the error where there is none."""

from click.testing import CliRunner, Result

from eventkit.cli import main
from tests.servers.kafka import GivenKafka, KafkaServer
from tests.transports.contract import fresh

Kafka = KafkaServer | GivenKafka


def run(url: str, *arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["--transport-url", url, "topics", *arguments])


def test_create_makes_missing_topics_and_says_so(kafka: Kafka) -> None:
    """A second call changes nothing and succeeds."""
    name = fresh("shop.order")

    first = run(kafka.url, "create", name, "--partitions", "3")
    second = run(kafka.url, "create", name)

    assert (first.exit_code, first.output) == (0, f"{name}: created with 3 partitions\n")
    assert (second.exit_code, second.output) == (0, f"{name}: is already there\n")


def test_another_number_of_partitions_is_not_silently_ignored(kafka: Kafka) -> None:
    """The existing topic is described, and nothing is changed; exit 1."""
    name = fresh("shop.order")
    run(kafka.url, "create", name, "--partitions", "3")

    done = run(kafka.url, "create", name, "--partitions", "12")
    same = run(kafka.url, "create", name, "--partitions", "3")

    assert done.exit_code == 1
    assert f"topic {name!r}: it has 3 partitions, not 12: nothing was changed" in done.stderr
    assert same.exit_code == 0
    assert f"{name}: 3 partitions" in run(kafka.url, "check", name).output


def test_check_names_the_broker_and_the_partitions(kafka: Kafka) -> None:
    """The existing topic is shown."""
    name = fresh("shop.order")
    run(kafka.url, "create", name, "--partitions", "3")

    result = run(kafka.url, "check", name)

    assert result.exit_code == 0
    assert kafka.bootstrap in result.output
    assert f"{name}: 3 partitions" in result.output


def test_check_fails_with_a_sentence_when_a_topic_is_missing(kafka: Kafka) -> None:
    """A script sees the exit code, and a person the remedy."""
    result = run(kafka.url, "check", "shop.missing")

    assert result.exit_code == 1
    assert "shop.missing" in result.output
    assert "topics create" in result.output


def test_no_broker_is_a_sentence() -> None:
    """Nobody answers: exit 1 and the address."""
    result = run("kafka://127.0.0.1:1", "check")

    assert result.exit_code == 1
    assert "Kafka at 127.0.0.1:1 does not answer" in result.output


def test_a_transport_of_one_process_has_no_topics_to_manage() -> None:
    """`local://` is refused with a sentence."""
    result = run("local://x", "create", "shop.order")

    assert result.exit_code == 2
    assert "does not leave its process" in result.output
