"""Tests of a Django project, run by Django's own runner: `manage.py test tests.integrations.django_cases`."""

from contextlib import suppress
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import TestCase

from eventkit.integrations.django import database_url
from examples.frameworks.django_shop.models import Order, place_order, shop, store


class OrderTest(TestCase):
    """Each test is a transaction that Django takes back."""

    def events(self) -> int:
        """Return how many events there are."""
        return len(list(store.read_all(connection)))

    def test_an_order_has_its_event(self) -> None:
        """Committed together."""
        order = place_order("ada", 1250)

        assert [one.version for one in store.read_stream(connection, shop.stream("order", order.id))] == [1]
        assert self.events() == 1

    def test_the_events_of_another_test_are_gone(self) -> None:
        """Whichever of the two runs first."""
        place_order("bob", 5)

        assert self.events() == 1

    def test_a_block_that_fails_leaves_neither(self) -> None:
        """A savepoint here, a transaction in production."""
        with suppress(ZeroDivisionError), transaction.atomic():
            place_order("eve", 7)
            raise ZeroDivisionError

        assert (self.events(), Order.objects.count()) == (0, 0)

    def test_commands_run_on_the_tests_database(self) -> None:
        """Also with options, and with their output in a variable; an exit code is an error."""
        output = StringIO()
        call_command("eventkit", "db", "current", "--json", stdout=output)

        assert '"revision": "eventkit_0001"' in output.getvalue()
        assert "/test_" in database_url()
        with pytest.raises(CommandError, match=r"eventkit nonsense. ended with 2"):
            call_command("eventkit", "nonsense")
