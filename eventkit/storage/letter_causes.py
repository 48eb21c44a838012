"""The causes of dead letters; a module without imports, for the options of a command."""

BEHIND, GAP = "behind", "gap"  # causes outside of the event itself
CAUSES = ("failed", "undecodable", "newer schema", "fork", GAP, "malformed", BEHIND, "refused")  # the last: a relay's
