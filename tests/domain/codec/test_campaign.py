"""The short form of `python -m tests.domain.codec.campaign`."""

from tests.domain.codec.campaign import KINDS, run


def test_every_type_in_every_position_comes_back_equal_with_stable_bytes() -> None:
    """In dataclasses, Structs and Pydantic models, beside random ids; the command does it 100,000 times."""
    found = run(600)

    assert all(found[f"{kind}: equal"] > 50 for kind in KINDS), found
