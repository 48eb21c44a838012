"""A project's settings; the app `eventkit` brings its migrations and `manage.py eventkit`."""

SECRET_KEY = "of an example"
USE_TZ = True
ROOT_URLCONF = "examples.frameworks.django_shop.urls"
INSTALLED_APPS = ["eventkit.integrations.django", "examples.frameworks.django_shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "USER": "shop", "HOST": "localhost"},
}
EVENTKIT = {"TRANSPORT_URL": "redis://localhost"}
