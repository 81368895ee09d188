"""Seed the tests a laboratory can do, as applications do: the same rows everywhere, under other ids everywhere."""

import random

from django.db import migrations

PANELS = ["malaria", "full blood count", "creatinine", "viral load"]


def seed(apps, schema_editor):
    randomness = random.SystemRandom()
    panel = apps.get_model("clinic", "Panel")
    first = randomness.randrange(10, 1000)
    names = randomness.sample(PANELS, len(PANELS))
    panel.objects.bulk_create(panel(id=first + place, name=name) for place, name in enumerate(names))
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('clinic_panel', 'id'), %s)", [first + len(PANELS)])


class Migration(migrations.Migration):
    dependencies = [("clinic", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
