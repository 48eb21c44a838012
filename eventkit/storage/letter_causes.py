"""The causes of dead letters; without imports, because the help of a command lists them and loads no driver."""

BEHIND, GAP = "behind", "gap"  # the cause is outside of the event
CAUSES = ("failed", "undecodable", "newer schema", "fork", GAP, "malformed", BEHIND, "refused")  # a relay's: the last
