"""The app's configuration; its label in `django_migrations` and `manage.py migrate` is `eventkit`."""

from django.apps import AppConfig


class EventkitApp(AppConfig):
    """eventkit, without models: its tables are read by eventkit's own statements."""

    name = "eventkit.integrations.django"
    label = "eventkit"
    verbose_name = "eventkit"
