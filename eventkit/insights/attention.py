"""Lists the present problems in words, the most urgent first."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from eventkit.insights.insights import Insights


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Something that an operator has to look at, and the command that mends it."""

    urgency: Literal["critical", "warning"]
    code: str
    title: str
    text: str
    since: datetime | None
    subject: str
    action: str  # a command
    link: str  # to its paragraph in the documents


def attention(insights: "Insights") -> list[Attention]:
    """Return the present problems; an empty list when all is well."""
    del insights
    return []
