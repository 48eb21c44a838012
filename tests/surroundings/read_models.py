"""The read models for processes of these tests: of the category that the environment names."""

import os

from tests.surroundings.rig import acting as acting_on
from tests.surroundings.rig import totals as totals_of

CATEGORY = "SURROUNDINGS_CATEGORY"

totals = totals_of(os.environ.get(CATEGORY, "order"))
acting = acting_on(os.environ.get(CATEGORY, "order"))
seconds = totals_of(os.environ.get(CATEGORY, "order"), table="seconds")
