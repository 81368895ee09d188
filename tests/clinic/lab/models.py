"""Models of a laboratory."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class Staff(AbstractBaseUser):
    """Known by what USERNAME_FIELD says, whatever Django calls the parameter; another unique field stands beside it."""

    badge = models.CharField(max_length=10, unique=True)
    email = models.EmailField(unique=True)
    USERNAME_FIELD = "email"
    objects = BaseUserManager["Staff"]()


class PatientManager(models.Manager["Patient"]):
    """Knows patients by their number."""

    def get_by_natural_key(self, number: str) -> "Patient":
        return self.get(number=number)


class Patient(models.Model):
    """Two unique fields, of which Django uses one as the key; the shorter name would have been as good a guess."""

    code = models.CharField(max_length=10, unique=True)
    number = models.CharField(max_length=30, unique=True)
    objects = PatientManager()

    def natural_key(self) -> tuple[str]:
        return (self.number,)


class SampleManager(models.Manager["Sample"]):
    """Knows samples by their patient's key and their own."""

    def get_by_natural_key(self, number: str, label: str) -> "Sample":
        return self.get(patient__number=number, label=label)


class Sample(models.Model):
    """A key that runs through a reference, and a barcode that would do as well."""

    patient = models.ForeignKey(Patient, on_delete=models.CASCADE)
    label = models.CharField(max_length=10)
    barcode = models.CharField(max_length=30, unique=True)
    objects = SampleManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["patient", "label"], name="unique_sample")]

    def natural_key(self) -> tuple[str, str]:
        return (*self.patient.natural_key(), self.label)


class Result(models.Model):
    """Says it by an attribute, with a lookup through the reference, in the words of its prefix."""

    sample = models.ForeignKey(Sample, on_delete=models.CASCADE)
    test = models.CharField(max_length=20)
    serial = models.CharField(max_length=30, unique=True)
    natural_key_fields = ["sample__barcode", "test"]

    class Meta:
        unique_together = [("sample", "test")]


class RemarkManager(models.Manager["Remark"]):
    """Takes whatever it is given."""

    def get_by_natural_key(self, *key: Any) -> "Remark":
        return self.get(text=key[0])


class Remark(models.Model):
    """Nobody can say from outside which fields its natural key has."""

    text = models.CharField(max_length=100, unique=True)
    objects = RemarkManager()

    def natural_key(self) -> tuple[str]:
        return (self.text,)


class ShelfManager(models.Manager["Shelf"]):
    """Knows shelves by a name that nothing makes unique."""

    def get_by_natural_key(self, name: str) -> "Shelf":
        return self.get(name=name)


class Shelf(models.Model):
    """A natural key that only the application keeps."""

    name = models.CharField(max_length=20)
    objects = ShelfManager()

    def natural_key(self) -> tuple[str]:
        return (self.name,)
