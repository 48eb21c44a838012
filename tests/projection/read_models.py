"""What `eventkit projector run` is pointed at by the tests."""

from tests.projection.shop import totals as make

totals = make()
both = (make("first"), make("second"))
nothing: list[object] = []
number = 3
