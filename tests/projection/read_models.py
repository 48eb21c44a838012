"""What `eventkit projector run` is pointed at by the tests."""

from eventkit.projection.sql import SqlProjection
from tests.projection.shop import shop
from tests.projection.shop import totals as make

totals = make()
both = (make("first"), make("second"))
noted = SqlProjection("noted", shop)  # needs no table
nothing: list[object] = []
number = 3
