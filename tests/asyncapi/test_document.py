"""The AsyncAPI document of a catalog: its channels, its operations, and schemas that accept the sent events."""

import json
from dataclasses import make_dataclass
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from eventkit import Catalog, CatalogError, Handlers
from eventkit.asyncapi import PROTOCOLS, document, yaml_text
from eventkit.domain.envelope import EncodedEvent
from eventkit.domain.message import message_of
from examples.contract import charger, desk, shop
from tests.asyncapi.conftest import Everything

Happened = make_dataclass("Happened", [("field", int)], frozen=True)


def resolved(described: dict[str, Any], reference: str) -> dict[str, Any]:
    """Return the part of a document that a reference names."""
    part = described
    for step in reference.removeprefix("#/").split("/"):
        part = part[step]
    return part


def faults(described: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """Return the errors of a value under a schema of the document."""
    whole = {**schema, "components": described["components"]}
    checker = Draft7Validator.FORMAT_CHECKER
    return [error.message for error in Draft7Validator(whole, format_checker=checker).iter_errors(value)]


def test_the_example_is_described_with_its_receivers() -> None:
    """Channels are topics; the service sends its events, receives others' events, its commands and requests."""
    found = document(shop, receivers=[desk, charger])

    assert {name: [*channel["messages"]] for name, channel in found["channels"].items()} == {
        "billing.invoice": ["billing.InvoicePaid"],
        "replies": ["Price"],
        "shop.charge_card": ["ChargeCard"],
        "shop.order": ["AddressGiven", "OrderPaid", "OrderPlaced"],
        "shop.price": ["GetPrice"],
    }
    assert {name: operation["action"] for name, operation in found["operations"].items()} == {
        "charger.shop.charge_card": "receive",
        "price_desk.GetPrice": "receive",
        "receive.billing.invoice": "receive",
        "send.shop.charge_card": "send",
        "send.shop.order": "send",
    }
    assert found["operations"]["price_desk.GetPrice"]["reply"] == {
        "address": {"location": "$message.header#/ce_replyto"},
        "channel": {"$ref": "#/channels/replies"},
        "messages": [{"$ref": "#/channels/replies/messages/Price"}],
    }


def test_a_type_without_a_category_is_in_a_channel_with_the_category_as_a_parameter() -> None:
    """Unless a receiver reads it from its own categories; types of no broker are in no channel."""
    catalog = Catalog("shop", topics={"draft": None})
    catalog.event(Happened)
    catalog.event(name="Drafted", category="draft")(make_dataclass("Drafted", [], frozen=True))
    catalog.consumes("https://x.org/a b".replace(" ", "%20"), "Fell", make_dataclass("Fell", [], frozen=True))
    handlers = Handlers("workers", catalog, categories=["work"])
    handlers.on(Happened)(lambda connection, event: None)  # noqa: ARG005 never called

    found = document(catalog, receivers=[handlers])

    addresses = {channel["address"]: [*channel["messages"]] for channel in found["channels"].values()}
    assert addresses == {
        "shop.{category}": ["Happened"],
        "shop.work": ["Happened"],
        "https://x.org/a%20b.{category}": ["https___x.org_a_20b.Fell"],
    }


def test_types_whose_ids_would_be_the_same_have_numbers() -> None:
    """An id has no colon and no slash; a number never takes the id of another type, and schemas are numbered alike."""
    catalog = Catalog("shop")
    for name in ("price:set", "price/set", "price_set"):
        catalog.event(name=name)(make_dataclass("Set", [(f"f{len(catalog.types)}", int)], frozen=True))

    components = document(catalog)["components"]

    assert {key: message["name"] for key, message in components["messages"].items()} == {
        "price_set": "price/set",
        "price_set_2": "price:set",
        "price_set_3": "price_set",
    }
    assert [*components["schemas"]] == ["Set", "Set_2", "Set_3"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_headers_of_a_message_are_valid(protocol: str) -> None:
    """Of the trait and of the message, under the names that the broker's messages have."""
    found = document(shop, protocol=protocol)
    described = found["components"]["messages"]["OrderPlaced"]
    trait = resolved(found, described["traits"][0]["$ref"])
    prefix = PROTOCOLS[protocol].prefix
    event = EncodedEvent(
        id="01234567-89ab-4def-8123-456789abcdef", source="shop", stream="order-1", version=3, type="OrderPlaced",
        schema_version=2, data="{}", time="2026-01-01T00:00:00Z", correlation_id="a", causation_id="b",
        traceparent="c", tracestate="d", extra="{}",
    )  # fmt: skip
    sent = {str(name).replace("ce_", prefix): value for name, value in message_of(event, "shop.order").headers}
    sent |= {"cloudEvents:subject": "order-1"} if protocol == "amqp" else {}

    assert faults(found, trait["headers"], sent) == faults(found, described["headers"], sent) == []
    assert faults(found, trait["headers"], {})
    assert faults(found, described["headers"], {**sent, f"{prefix}type": "OrderPaid"})
    assert {name for name in sent if name != "content-type"} <= trait["headers"]["properties"].keys()


def test_the_schemas_of_a_document_accept_every_event_that_is_sent(everything: Everything) -> None:
    """As schemas of draft 7, with the definitions of all types side by side."""
    found = document(everything.catalog)

    for name, events in everything.events.items():
        payload = found["components"]["messages"][name]["payload"]
        for event in events:
            data = json.loads(everything.catalog.encode(event).data)
            assert faults(found, payload, data) == [], (name, data)
    assert len(everything.events) > 150


def test_a_receiver_of_another_catalog_is_refused() -> None:
    """Its messages are in another document."""
    with pytest.raises(CatalogError, match="responder 'price_desk' reads by the catalog 'shop', not by 'billing'"):
        document(Catalog("billing"), receivers=[desk])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
)


@given(JSON)
def test_yaml_is_read_as_the_same_value(value: object) -> None:
    """With any texts and keys."""
    assert yaml.safe_load(yaml_text(value)) == value
