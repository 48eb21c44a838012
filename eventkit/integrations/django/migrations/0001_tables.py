"""Create eventkit's tables by eventkit's own migration of this revision."""

from django.db.migrations import Migration as DjangoMigration

from eventkit.integrations.django.operations import upgrade_to


class Migration(DjangoMigration):
    """Revision eventkit_0001."""

    initial = True
    atomic = False  # eventkit's upgrade has a transaction of its own
    operations = (upgrade_to("eventkit_0001", back_to="base"),)
