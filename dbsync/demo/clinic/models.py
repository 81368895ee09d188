"""The clinic's tables. Every id is counted by each database for itself, as Django does unless told otherwise."""

from django.db import models


class Household(models.Model):
    """A home that research assistants visit; its code is painted on the door."""

    code = models.CharField(max_length=20, unique=True)
    village = models.CharField(max_length=60)


class Subject(models.Model):
    """A person in the study."""

    identifier = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=60)
    household = models.ForeignKey(Household, on_delete=models.PROTECT)


class Panel(models.Model):
    """A blood test the laboratory can do; seeded by a migration, under other ids on every database."""

    name = models.CharField(max_length=40, unique=True)


class Visit(models.Model):
    """A person is seen: known by the person and the visit's code."""

    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)
    code = models.CharField(max_length=10)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject", "code"], name="unique_visit")]


class Specimen(models.Model):
    """A tube of blood: known by the visit and the test it is for, so that its key runs over three tables."""

    visit = models.ForeignKey(Visit, on_delete=models.CASCADE)
    panel = models.ForeignKey(Panel, on_delete=models.PROTECT)
    drawn_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["visit", "panel"], name="unique_specimen")]


class Result(models.Model):
    """What the test said: known by its specimen."""

    specimen = models.OneToOneField(Specimen, on_delete=models.CASCADE)
    value = models.DecimalField(max_digits=8, decimal_places=3)
