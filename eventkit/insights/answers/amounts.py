"""Numbers of rows, and parts of lists: every answer has them."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number of rows: counted, or an estimate that is at least the limit of counting."""

    value: int
    is_exact: bool

    @property
    def rounded(self) -> int:
        """The value; of an estimate, its first two digits."""
        return self.value if self.is_exact else round(self.value, 2 - len(str(self.value)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list; `next` is the `after` of the following part, None at the end.

    A search may return a page with few items, or none, and a `next`: it has looked at as many rows as one call may.
    """

    items: tuple[T, ...]
    next: str | None
