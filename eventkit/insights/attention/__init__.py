"""Says which causes of trouble there are now, in words: each that needs a person, the most urgent first.

A condition is a function from the observations to items. It leaves out a cause that cures itself within seconds. Each
item has a command, and a paragraph of docs/troubleshooting.md.
"""

from eventkit.insights.attention.item import CODES, Attention, anchor
from eventkit.insights.attention.observations import Observations, observe
from eventkit.insights.attention.reported import reported

__all__ = ["CODES", "Attention", "Observations", "anchor", "observe", "reported"]
