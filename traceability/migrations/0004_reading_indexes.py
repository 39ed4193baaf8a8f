"""Indexes for reading: codes from behind, production lots, the other rows of a joint event."""

from django.contrib.postgres.indexes import OpClass
from django.db import migrations, models
from django.db.models.functions import Reverse


class Migration(migrations.Migration):
    dependencies = [("traceability", "0003_append_only_guards")]

    operations = [
        migrations.AddIndex(
            model_name="battery",
            index=models.Index(
                OpClass(Reverse("code"), name="text_pattern_ops"), name="battery_code_back"
            ),
        ),
        migrations.AddIndex(
            model_name="battery",
            index=models.Index(
                fields=["lot", "line"], condition=~models.Q(lot=""), name="battery_by_lot"
            ),
        ),
        migrations.AddIndex(
            model_name="component",
            index=models.Index(
                OpClass(Reverse("code"), name="text_pattern_ops"), name="component_code_back"
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                fields=["event_id"],
                condition=models.Q(event_id__isnull=False),
                name="event_by_joint",
            ),
        ),
    ]
