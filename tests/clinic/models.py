"""The clinic's tables: every shape of key and reference that Django applications have."""

import uuid

from django.contrib.auth.models import AbstractUser
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.contrib.sites.models import Site
from django.db import models
from simple_history.models import HistoricalRecords


class User(AbstractUser):
    """The swapped user model, with groups and permissions of its own tables."""

    job_title = models.CharField(max_length=100, blank=True)


class ListItem(models.Model):
    """Seeded by a migration: other ids on every database."""

    list_name = models.CharField(max_length=50)
    name = models.CharField(max_length=50)
    display_index = models.IntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["list_name", "name"], name="unique_list_item")]


class Panel(models.Model):
    """Seeded by a migration: a random UUID on every database, recognised by its name."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=50, unique=True)


class Household(models.Model):
    """In a cycle with Subject: a household has a head, a subject has a household."""

    code = models.CharField(max_length=30, unique=True)
    head = models.OneToOneField("Subject", null=True, blank=True, on_delete=models.SET_NULL, related_name="heads")


class Tag(models.Model):
    """A label for subjects."""

    name = models.CharField(max_length=30, unique=True)


class Subject(models.Model):
    """A person; the mother is a subject too."""

    subject_identifier = models.CharField(max_length=30, unique=True)
    first_name = models.CharField(max_length=60)
    born = models.DateField(null=True)
    site = models.ForeignKey(Site, on_delete=models.PROTECT)
    household = models.ForeignKey(Household, null=True, on_delete=models.SET_NULL)
    mother = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="children")
    tags = models.ManyToManyField(Tag)
    arms = models.ManyToManyField("Arm", through="Enrolment")
    notes = GenericRelation("Note")
    history = HistoricalRecords()


class Arm(models.Model):
    """An arm of the study."""

    name = models.CharField(max_length=30, unique=True)


class Enrolment(models.Model):
    """The table between subjects and arms, with a column of its own."""

    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)
    arm = models.ForeignKey(Arm, on_delete=models.PROTECT)
    enrolled_on = models.DateField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject", "arm"], name="unique_enrolment")]


class Consent(models.Model):
    """One to one: keyed by its subject."""

    subject = models.OneToOneField(Subject, on_delete=models.CASCADE)
    signed_at = models.DateTimeField()
    version = models.CharField(max_length=10)


class Visit(models.Model):
    """A key of two columns, one of them a reference."""

    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)
    visit_code = models.CharField(max_length=10)
    report_datetime = models.DateTimeField()
    reason = models.TextField(blank=True)
    reporter = models.ForeignKey(User, null=True, on_delete=models.SET_NULL)
    history = HistoricalRecords()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject", "visit_code"], name="unique_visit")]


class Crf(models.Model):
    """A form of a visit: a key of two steps."""

    visit = models.OneToOneField(Visit, on_delete=models.CASCADE)
    weight = models.DecimalField(max_digits=8, decimal_places=3, null=True)
    answers = models.JSONField(default=dict)
    outcome = models.ForeignKey(ListItem, null=True, on_delete=models.PROTECT)
    free_text = models.TextField(blank=True)


class Requisition(models.Model):
    """The older form of a key of several columns, through a UUID that differs everywhere."""

    visit = models.ForeignKey(Visit, on_delete=models.CASCADE)
    panel = models.ForeignKey(Panel, on_delete=models.PROTECT)
    tubes = models.IntegerField(default=0)

    class Meta:
        unique_together = [("visit", "panel")]


class Box(models.Model):
    """A table from an older system, whose names have capitals and spaces."""

    label = models.CharField(max_length=30, unique=True, db_column="Box Label")

    class Meta:
        db_table = "Clinic Box"


class Specimen(models.Model):
    """A UUID as primary key, and a natural key beside it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.CharField(max_length=30, unique=True)
    requisition = models.ForeignKey(Requisition, on_delete=models.CASCADE)
    box = models.ForeignKey(Box, null=True, on_delete=models.SET_NULL)


class Reading(models.Model):
    """A UUID as primary key, and no other key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    specimen = models.ForeignKey(Specimen, on_delete=models.CASCADE)
    value = models.FloatField()
    raw = models.BinaryField(null=True)


class Encounter(models.Model):
    """The parent of inherited tables."""

    code = models.CharField(max_length=30, unique=True)
    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)


class Admission(Encounter):
    """A child table, keyed by its parent's row."""

    ward = models.CharField(max_length=30)


class Order(models.Model):
    """No natural key, and another table refers to it."""

    subject = models.ForeignKey(Subject, on_delete=models.CASCADE)
    placed_at = models.DateTimeField()


class OrderLine(models.Model):
    """No natural key either."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    drug = models.CharField(max_length=60)
    quantity = models.IntegerField()


class Note(models.Model):
    """A generic relation by an integer id."""

    code = models.CharField(max_length=30, unique=True)
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    content_object = GenericForeignKey("content_type", "object_id")
    text = models.TextField()


class Attachment(models.Model):
    """A generic relation by an id as text, for integers and UUIDs alike."""

    sha256 = models.CharField(max_length=64, unique=True)
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.CharField(max_length=64)
    content_object = GenericForeignKey("content_type", "object_id")
