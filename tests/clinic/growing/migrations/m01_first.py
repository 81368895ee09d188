"""What the application began with."""

from typing import Any, ClassVar

from django.db import migrations, models

ID = ("id", models.BigAutoField(primary_key=True))


class Migration(migrations.Migration):
    initial = True
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel("Ward", [ID, ("code", models.CharField(max_length=20, unique=True))]),
        migrations.CreateModel(
            "Patient",
            [
                ID,
                ("number", models.CharField(max_length=20, unique=True)),
                ("first_name", models.CharField(max_length=40, default="")),
                ("weight", models.IntegerField(null=True)),
                ("fax", models.CharField(max_length=40, null=True)),
                ("ward", models.ForeignKey("growing.Ward", models.SET_NULL, null=True)),
            ],
        ),
        migrations.CreateModel(
            "Sample",
            [
                ID,
                ("patient", models.ForeignKey("growing.Patient", models.CASCADE)),
                ("code", models.CharField(max_length=20)),
                ("tubes", models.IntegerField(default=0)),
            ],
            options={"unique_together": {("patient", "code")}},
        ),
        migrations.CreateModel(
            "Leaflet", [ID, ("title", models.CharField(max_length=20, unique=True)), ("copies", models.IntegerField())]
        ),
    ]
