"""Says in words which causes of trouble there are now, the most urgent first: each condition that needs a person, and its remedy.

A condition is a function from the observations to items. It leaves out a cause that cures itself within seconds. Each item
names a paragraph of docs/troubleshooting.md.
"""

from eventkit.insights.attention.item import CODES, Attention, anchor
from eventkit.insights.attention.observations import Observations, observe
from eventkit.insights.attention.reported import reported

__all__ = ["CODES", "Attention", "Observations", "anchor", "observe", "reported"]
