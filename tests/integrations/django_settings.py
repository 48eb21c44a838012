"""The settings of the Django example, on the database and the broker of a test."""

import os

from psycopg.conninfo import conninfo_to_dict

from examples.frameworks.django_shop.settings import INSTALLED_APPS, ROOT_URLCONF, SECRET_KEY, USE_TZ

__all__ = ["DATABASES", "EVENTKIT", "INSTALLED_APPS", "ROOT_URLCONF", "SECRET_KEY", "USE_TZ"]

_parts = conninfo_to_dict(os.environ["SHOP_DATABASE"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _parts["dbname"],
        "TEST": {"NAME": f"test_{_parts['dbname']}"},
        **{name: _parts.get(name.lower(), "") for name in ("USER", "PASSWORD", "HOST", "PORT")},
    },
}
EVENTKIT = {
    name: value
    for name, value in {
        "SCHEMA": os.environ.get("SHOP_SCHEMA"),
        "TRANSPORT_URL": os.environ.get("SHOP_BROKER"),
    }.items()
    if value
}
