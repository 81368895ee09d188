"""Models of which django-auditlog, django-easy-audit and django-reversion keep trails, and that django-taggit and -guardian point to."""

import uuid

import reversion
from auditlog.registry import auditlog
from django.db import models
from taggit.managers import TaggableManager


class Place(models.Model):
    """Where patients are seen."""

    name = models.CharField(max_length=50, unique=True)


@reversion.register()
class Patient(models.Model):
    """Who is seen."""

    code = models.CharField(max_length=50, unique=True)
    name = models.CharField(max_length=50)
    place = models.ForeignKey(Place, on_delete=models.PROTECT)
    tags = TaggableManager()


class Sample(models.Model):
    """What is taken, known by a UUID."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    patient = models.ForeignKey(Patient, on_delete=models.CASCADE)


for model in (Place, Patient, Sample):
    auditlog.register(model)
