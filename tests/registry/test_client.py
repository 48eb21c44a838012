"""Addresses, wrong answers and silence of a schema registry: each ends with one sentence, without a password."""

import socket

import pytest

from eventkit.config import load_settings
from eventkit.domain.schema_frame import frame_of_id
from eventkit.errors import ConfigurationError, RegistryError, RegistryUnavailable
from eventkit.registry import SchemaRegistry
from tests.registry.conftest import Answers

ANSWERS: dict[str, tuple[int, bytes]] = {
    "another program": (200, b"<html>hello</html>"),
    "no page": (404, b"<html>not here</html>"),
    "no JSON": (200, b"{"),
    "a list": (200, b"[]"),
    "a text": (200, b'"x"'),
    "nulls": (200, b'{"id": null, "schema": null, "compatibilityLevel": null, "version": null}'),
    "an id that does not fit": (200, b'{"id": 4294967296, "schema": "{}", "schemaType": "JSON"}'),
    "an id that is text": (200, b'{"id": "7", "schema": "{}", "schemaType": "JSON"}'),
    "a GUID that is none": (200, b'{"id": 7, "guid": "x", "schema": "{}", "schemaType": "JSON"}'),
    "a schema that is no JSON": (200, b'{"id": 7, "schema": "{", "schemaType": "JSON"}'),
    "a schema of great depth": (200, b'{"id": 7, "schema": "' + b"[" * 100_000 + b'", "schemaType": "JSON"}'),
    "no right": (403, b'{"error_code": 40301, "message": "denied"}'),
    "an error of another form": (422, b"[]"),
    "nothing": (204, b""),
    "a redirect": (302, b""),
    "a redirect with a page": (301, b"<html>moved</html>"),
    "a page of an error": (500, b"<html>" + b"x" * 100_000),
    "a reason that no table holds": (409, b'{"error_code": 409, "message": "a\\u0000b\\ud800\\nc"}'),
    "too many requests": (429, b""),
    "an id below zero": (200, b'{"id": -1, "schema": "{}", "schemaType": "JSON"}'),
}


def registry(web: Answers) -> SchemaRegistry:
    """Return a client of the server, with a password."""
    return SchemaRegistry(web.url.replace("//", "//ci:pass%3Aw%C3%B6rd%252F@") + "/")


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_wrong_answer_is_an_error_of_the_registry(web: Answers, answer: str) -> None:
    """Not an exception of a library; it names the address without the password."""
    web.otherwise = ANSWERS[answer]

    with pytest.raises(RegistryError) as raised:
        registry(web).version("shop.Placed", 1)

    text = str(raised.value)
    assert f"{web.url} does not read version 1" in text
    assert "wörd" not in text
    assert "w%C3" not in text
    assert text.isprintable()
    assert len(text) < 700
    assert ("set registry_url to the address it leads to" in text) is answer.startswith("a redirect")


@pytest.mark.parametrize("answer", [(201, b'{"id": -1}'), (200, b'{"id": true}'), (200, b'{"id": 4294967296}')])
def test_an_id_that_no_frame_holds_is_refused_when_a_schema_is_registered(
    web: Answers, answer: tuple[int, bytes]
) -> None:
    """From zero to 2^32 - 1: four bytes on the wire."""
    web.otherwise = answer

    with pytest.raises(RegistryError, match="does not register a schema"):
        registry(web).register("shop.Placed", "{}")


def test_the_highest_id_is_taken(web: Answers) -> None:
    """It is above 2^31, which other programs read as a negative number."""
    web.otherwise = (200, b'{"id": 4294967295, "schema": "{}", "schemaType": "JSON"}')

    assert registry(web).register("shop.Placed", "{}") == 2**32 - 1
    assert frame_of_id(registry(web).version("shop.Placed", 1).id) == b"\0\xff\xff\xff\xff"


def test_a_redirect_is_not_followed(web: Answers) -> None:
    """The password goes to the address that was set, and to no other."""
    web.otherwise = (302, b"")

    with pytest.raises(RegistryError):
        registry(web).versions("shop.Placed")

    assert web.asked == ["/subjects/shop.Placed/versions"]


def test_the_password_is_sent_as_a_header(web: Answers) -> None:
    """Percent-encoded in the URL, as it is in the header; the address of a schema has none."""
    web.otherwise = (200, b"[1]")

    client = registry(web)

    assert client.versions("shop.Placed") == [1]
    assert web.headers["Authorization"] == "Basic Y2k6cGFzczp3w7ZyZCUyRg=="
    assert client.uri_of(7) == f"{web.url}/schemas/ids/7/schema"


def test_a_registry_that_is_away_is_unavailable() -> None:
    """At a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = SchemaRegistry(f"http://ci:secret@127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RegistryUnavailable, match="does not answer") as raised:
            client.check()

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["registry:8081", "ftp://registry", "https://", "https://u:se/cret@registry", "https://registry?a=secret",
     "https://u:secret@registry:port", "https://[registry:secret"],
)  # fmt: skip
def test_an_address_that_cannot_be_read_is_refused(url: str) -> None:
    """Without repeating it: any part may be a password."""
    with pytest.raises(ConfigurationError, match="it looks like https://registry:8081") as raised:
        SchemaRegistry(url)

    assert "cret" not in str(raised.value)


def test_a_password_in_an_option_is_refused() -> None:
    """As for the database and the broker."""
    with pytest.raises(ConfigurationError, match="set EVENTKIT_REGISTRY_URL in the environment") as raised:
        load_settings(registry_url="https://ci:secret@registry")

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(("name", "value"), [("schema_id", "id"), ("registry_subjects", "topic")])
def test_another_value_of_a_setting_is_refused(name: str, value: str) -> None:
    """It names the values that there are."""
    with pytest.raises(ConfigurationError, match=f"{name} is '{value}': set one of "):
        load_settings(**{name: value})
