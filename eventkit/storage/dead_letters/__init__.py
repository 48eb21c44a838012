"""Dead letters: kept by projectors and the relay, listed and handled by operators."""

from eventkit.errors import BEHIND, CAUSES, GAP
from eventkit.storage.dead_letters.actions import TOMBSTONE, LetterActions
from eventkit.storage.dead_letters.letters import DeadLetters, Kept, Letter
from eventkit.storage.dead_letters.new_data import check_data, editable_text, indented
from eventkit.storage.dead_letters.query import Action, Choice, Filed, LetterFilter, LetterQuery
from eventkit.storage.dead_letters.redrive import RedriveRequests, Redrives

__all__ = [
    "BEHIND",
    "CAUSES",
    "GAP",
    "TOMBSTONE",
    "Action",
    "Choice",
    "DeadLetters",
    "Filed",
    "Kept",
    "Letter",
    "LetterActions",
    "LetterFilter",
    "LetterQuery",
    "RedriveRequests",
    "Redrives",
    "check_data",
    "editable_text",
    "indented",
]
