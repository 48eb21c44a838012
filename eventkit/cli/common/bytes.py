"""An option whose value is a number of bytes, with its unit: `250MB`, `1.5GB`."""

import re
from typing import Any

import click

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Bytes(click.ParamType):  # type: ignore[type-arg] # older releases of click have none
    """A number of bytes, written with its unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 click's signature
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?([KMG]i?B)", str(value).strip(), re.IGNORECASE | re.ASCII)
        if found is None:
            self.fail(f"{value!r} is no size: write a number and its unit, as in 250MB or 1.5GB", param, ctx)
        return int(float(found[1]) * _UNITS[found[2].upper()])
