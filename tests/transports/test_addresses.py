"""Where a broker is: names, IPv4 and IPv6 addresses, and for Kafka a list of them."""

from contextlib import closing
from urllib.parse import urlsplit

import pytest

from eventkit.errors import ConfigurationError
from eventkit.transports import open_transport
from eventkit.transports.kafka.address import Address
from tests.servers.proxy import Proxy
from tests.transports.contract import fresh, joined
from tests.transports.traffic import deliver, messages, number, read

HOSTS = {
    "kafka://broker": "broker:9092",
    "kafka://broker,other:9093": "broker:9092,other:9093",
    "kafka://[::1]": "[::1]:9092",
    "kafka://broker:9092,[::1]:9092": "broker:9092,[::1]:9092",
    "kafka://[::1]:9092,broker": "[::1]:9092,broker:9092",
    "kafka://[::1],[2001:db8::2]:9093": "[::1]:9092,[2001:db8::2]:9093",
    "kafka://user:secret@broker:9092,[::1]:9093": "broker:9092,[::1]:9093",
    "rabbitmq://[::1]": "[::1]:5672",
    "rabbitmqs://user:secret@[2001:db8::2]:5673/shop": "[2001:db8::2]:5673",
    "redis://[::1]:6380/1": "[::1]:6380",
    "rediss://:secret@[::1]": "[::1]:6379",
    "activemq://[::1]": "[::1]:61613",
    "activemqs://user:secret@[::1]:61615": "[::1]:61615",
}


@pytest.mark.parametrize("url", HOSTS)
def test_a_broker_is_where_its_url_says(url: str) -> None:
    """An address of any family, with a port or without, and its text in messages can be copied."""
    transport = open_transport(url)

    assert repr(vars(transport)["_address"]) == f"Address({HOSTS[url]})"


@pytest.mark.parametrize("scheme", ["rabbitmq", "redis", "activemq"])
@pytest.mark.parametrize("hosts", ["one:1,two:2", "one,two", "[::1],[::2]", "[::1", "::1", "[nobody]"])
def test_a_list_where_one_host_is_wanted_is_refused(scheme: str, hosts: str) -> None:
    """With a sentence, and never by connecting to a host of a strange name."""
    with pytest.raises(ConfigurationError, match=f"{scheme}://"):
        open_transport(f"{scheme}://{hosts}")


@pytest.mark.parametrize("hosts", ["::1", "[::1", "[::1]:x", "a:b:c"])
def test_a_host_of_kafka_that_is_none_is_refused(hosts: str) -> None:
    """An IPv6 address stands in brackets, or its end would be taken for a port."""
    with pytest.raises(ConfigurationError, match="kafka://host:9092"):
        Address(f"kafka://{hosts}", {})


@pytest.mark.parametrize("broker", ["rabbitmq", "redis", "activemq"])
def test_messages_go_by_ipv6(request: pytest.FixtureRequest, broker: str) -> None:
    """A real broker behind an IPv6 address."""
    url = request.getfixturevalue(broker).url
    try:
        proxy = Proxy(urlsplit(url).port or 0, host="::1")
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
    with proxy, closing(open_transport(f"{broker}://[::1]:{proxy.port}")) as transport:
        topic = transport.create_topics([fresh("ipv6")], partitions=1)[0]
        group = joined(transport, topic, "group")

        deliver(transport.publisher(), messages(topic, 5))
        with closing(transport.subscribe([topic], group)) as subscription:
            assert sorted(map(number, read(subscription, 5))) == list(range(5))
        assert f"[::1]:{proxy.port}" in transport.check()
