"""What people do with the clinic's application, through Django's ORM. Each act is one transaction."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from dbsync.demo.clinic.models import Household, Panel, Result, Specimen, Subject, Visit

PANEL = "malaria"


@transaction.atomic
def register(household: str, village: str, identifier: str, name: str) -> int:
    """Register a person, and the household unless this database has it; give the person's id here."""
    home, _ = Household.objects.get_or_create(code=household, defaults={"village": village})
    return Subject.objects.create(identifier=identifier, name=name, household=home).pk


@transaction.atomic
def see(identifier: str, code: str) -> int:
    """See a person and draw blood; give the visit's id here."""
    visit = Visit.objects.create(subject=Subject.objects.get(identifier=identifier), code=code, seen_at=timezone.now())
    Specimen.objects.create(visit=visit, panel=Panel.objects.get(name=PANEL), drawn_at=timezone.now())
    return visit.pk


@transaction.atomic
def note_result(identifier: str, code: str, value: str) -> None:
    """Note what the test of a visit's specimen said."""
    specimen = Specimen.objects.get(visit__subject__identifier=identifier, visit__code=code, panel__name=PANEL)
    Result.objects.create(specimen=specimen, value=Decimal(value))


@transaction.atomic
def work_a_week(prefix: str, village: str, people: int) -> None:
    """Register many people, each in a household of their own, see each of them and draw blood."""
    codes = [f"{prefix}{number:03}" for number in range(1, people + 1)]
    homes = Household.objects.bulk_create(Household(code=f"HH-{code}", village=village) for code in codes)
    found = Subject.objects.bulk_create(
        Subject(identifier=f"S-{code}", name=f"Person {code}", household=home)
        for code, home in zip(codes, homes, strict=True)
    )
    now, panel = timezone.now(), Panel.objects.get(name=PANEL)
    visits = Visit.objects.bulk_create(Visit(subject=subject, code="1000", seen_at=now) for subject in found)
    Specimen.objects.bulk_create(Specimen(visit=visit, panel=panel, drawn_at=now) for visit in visits)


@transaction.atomic
def correct_identifier(wrong: str, right: str) -> None:
    """Correct a person's identifier."""
    subject = Subject.objects.get(identifier=wrong)
    subject.identifier = right
    subject.save()


@transaction.atomic
def delete_visit(identifier: str, code: str) -> int:
    """Delete a visit that was entered by mistake, and all that hangs on it; give how many rows went."""
    gone, _ = Visit.objects.get(subject__identifier=identifier, code=code).delete()
    return gone


ACTS: dict[str, Callable[..., Any]] = {
    act.__name__: act for act in (register, see, note_result, work_a_week, correct_identifier, delete_visit)
}
