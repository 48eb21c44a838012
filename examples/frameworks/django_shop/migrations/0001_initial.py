"""Create the table of orders."""

from uuid import uuid4

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = (
        migrations.CreateModel(
            "Order",
            [
                ("id", models.UUIDField(default=uuid4, primary_key=True, serialize=False)),
                ("customer", models.TextField()),
                ("cents", models.IntegerField()),
            ],
            {"db_table": "orders"},
        ),
    )
