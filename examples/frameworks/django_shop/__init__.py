"""Django: an order and its event in one `transaction.atomic()`, with tables and workers by `manage.py`.

$ export DJANGO_SETTINGS_MODULE=examples.frameworks.django_shop.settings
$ python -m django migrate                       # the tables of the shop, and of eventkit
$ python -m django runserver
$ curl -X POST localhost:8000/orders -d customer=ada -d cents=1250
$ python -m django eventkit relay run            # any command of eventkit, on the database of these settings
"""
