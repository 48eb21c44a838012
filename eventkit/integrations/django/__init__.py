"""eventkit as a Django app: `INSTALLED_APPS = [..., "eventkit.integrations.django"]`.

`manage.py migrate` creates eventkit's tables, and `manage.py eventkit …` is eventkit's command; both use the databases
of Django's settings. The setting `EVENTKIT` is optional:

    EVENTKIT = {"DATABASE": "default", "SCHEMA": "eventkit", "TRANSPORT_URL": "kafka://localhost:9092"}

`DATABASE` is an alias of `DATABASES`. Variables `EVENTKIT_*` of the environment override all three.
"""

from eventkit.integrations.django.project_settings import database_url

__all__ = ["database_url"]
