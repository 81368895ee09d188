"""Seed the lists, as applications do: the same rows everywhere, under other ids on every database."""

import random
import uuid

from django.db import migrations

ITEMS = ["alive", "deceased", "lost to follow-up", "transferred", "unknown"]
PANELS = ["full blood count", "viral load", "creatinine", "hba1c"]
ARMS = ["control", "intervention"]


def seed(apps, schema_editor):
    randomness = random.SystemRandom()
    list_item, panel, arm = (apps.get_model("clinic", name) for name in ("ListItem", "Panel", "Arm"))
    for model in (list_item, arm):
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)",
                [model._meta.db_table, randomness.randrange(1, 1_000_000)],
            )
    list_item.objects.bulk_create(
        list_item(list_name="outcome", name=name, display_index=ITEMS.index(name))
        for name in randomness.sample(ITEMS, len(ITEMS))
    )
    arm.objects.bulk_create(arm(name=name) for name in randomness.sample(ARMS, len(ARMS)))
    panel.objects.bulk_create(panel(id=uuid.uuid4(), name=name) for name in PANELS)


class Migration(migrations.Migration):
    dependencies = [("clinic", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
