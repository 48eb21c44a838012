"""Addresses whose password has unescaped signs: they are refused, and no part of the password is in the error."""

import pytest

from eventkit.config import has_password, load_settings
from eventkit.errors import ConfigurationError, EventkitError
from eventkit.registry import SchemaRegistry
from eventkit.storage.db.connection import parse
from eventkit.transports import open_transport

SCHEMES = [
    "kafka",
    "redis",
    "rediss",
    "rabbitmq",
    "rabbitmqs",
    "activemq",
    "activemqs",
    "local",
    "mysql",
    "http",
    "https",
]
SIGNS = ["/", "#", "?", "/a?", "?a/", "a#", "@x/", ":x/"]
SIGNS_OF = {"postgresql": ["@", "@a:b@"]}  # libpq takes brackets as they are, and ends a password at the first @
OF_URLS = ["[", "]", "\u2100"]  # the last is a/c, when it is normalized
PARTS = [("Sesame", "Barley7"), ("12", "34567")]  # a number passes for a port


def opened(scheme: str, url: str) -> None:
    """Read an address as the product would."""
    if scheme == "postgresql":
        parse(url)
    elif scheme in ("http", "https"):
        SchemaRegistry(url)
    else:
        open_transport(url)


@pytest.mark.parametrize("parts", PARTS, ids=["words", "numbers"])
@pytest.mark.parametrize("scheme", [*SCHEMES, "postgresql"])
def test_no_part_of_a_password_is_in_an_error(scheme: str, parts: tuple[str, str]) -> None:
    """The end of such a password is unknown, so nothing of the address is repeated, and nothing is connected."""
    for sign in [*SIGNS, *SIGNS_OF.get(scheme, OF_URLS)]:
        url = f"{scheme}://someone:{sign.join(parts)}@broker.invalid:1/0"

        with pytest.raises(ConfigurationError) as refused:
            opened(scheme, url)

        assert not any(part in str(refused.value) for part in (*parts, "someone", "broker.invalid")), sign
        assert refused.value.__cause__ is None or not any(part in repr(refused.value.__cause__) for part in parts)
        assert has_password(url), sign


@pytest.mark.parametrize(
    "text", ["Sesame", "Sesame:Barley7", "sesame", "host=h password=Sesame", "//u:Sesame@h", "", "\0"]
)
@pytest.mark.parametrize("scheme", ["postgresql", "kafka"])
def test_an_invalid_url_is_not_repeated(scheme: str, text: str) -> None:
    """A password in the wrong variable is one too; so is one in libpq's other form."""
    with pytest.raises(ConfigurationError) as refused:
        opened(scheme, text)

    assert "sesame" not in str(refused.value).lower()
    assert "barley" not in str(refused.value).lower()


def test_a_host_without_a_port_is_not_repeated() -> None:
    """Where the host is forgotten, the password stands in its place."""
    for url in ("kafka://someone:Sesame", "redis://someone:Sesame", "rabbitmq://a:Sesame", "activemq://a:Sesame"):
        with pytest.raises(EventkitError) as refused:
            open_transport(url)

        assert "Sesame" not in str(refused.value)


@pytest.mark.parametrize("sign", ["/", "#", "?", "@"])
def test_such_a_password_in_an_option_is_refused_as_a_password(sign: str) -> None:
    """It is recognised as a password, although the URL cannot be parsed."""
    with pytest.raises(ConfigurationError, match=r"transport_url has a password in an option") as refused:
        load_settings(transport_url=f"redis://someone:Sesame{sign}Barley7@host")

    assert "Barley7" not in str(refused.value)
