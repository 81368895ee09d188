"""A table comes, a table that was there refers to it, and an index."""

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar[list[tuple[str, str]]] = [("growing", "m04_retyped")]
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            "Visit",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("patient", models.ForeignKey("growing.Patient", models.CASCADE)),
                ("code", models.CharField(max_length=20)),
            ],
            options={"unique_together": {("patient", "code")}},
        ),
        migrations.AddField("sample", "visit", models.ForeignKey("growing.Visit", models.SET_NULL, null=True)),
        migrations.AddIndex("sample", models.Index(fields=["code"], name="sample_by_code")),
    ]
