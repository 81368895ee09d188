"""What a clinic's application does to its database in a day, all through the ORM.

Every scenario stands alone and can run again: what it writes begins with ``prefix``, so that two laptops write
different people under the same ids.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from decimal import Decimal

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sites.models import Site
from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from tests.clinic.models import (
    Admission,
    Arm,
    Attachment,
    Box,
    Consent,
    Crf,
    Enrolment,
    Household,
    ListItem,
    Note,
    Order,
    OrderLine,
    Panel,
    Reading,
    Requisition,
    Specimen,
    Subject,
    Tag,
    User,
    Visit,
)

Scenario = Callable[[str], None]
SCENARIOS: dict[str, Scenario] = {}
NOON = dt.datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=dt.UTC)


def scenario(function: Scenario) -> Scenario:
    """Add a scenario to those that ``python -m tests.clinic.run`` knows by name."""
    SCENARIOS[function.__name__] = function
    return function


class UndoneError(Exception):
    """Raised to roll a savepoint back."""


def _site() -> Site:
    return Site.objects.get_or_create(domain="example.com", defaults={"name": "example.com"})[0]


def _subject(identifier: str, **values: object) -> Subject:
    # Found again by its key, so that one scenario can build on what another has made.
    values = {"first_name": identifier.title(), "site": _site(), "born": dt.date(1999, 12, 31)} | values
    return Subject.objects.get_or_create(subject_identifier=identifier, defaults=values)[0]


def _visit(subject: Subject, code: str) -> Visit:
    return Visit.objects.get_or_create(subject=subject, visit_code=code, defaults={"report_datetime": NOON})[0]


def _specimen(subject: Subject, number: int) -> Specimen:
    panel = Panel.objects.get(name="viral load")
    requisition, _ = Requisition.objects.get_or_create(visit=_visit(subject, "1000"), panel=panel)
    code = f"{subject.subject_identifier}-S{number}"
    return Specimen.objects.get_or_create(code=code, defaults={"requisition": requisition})[0]


@scenario
def save(prefix: str) -> None:
    """Save rows that refer to one another, then save changes, and save without any."""
    household, _ = Household.objects.get_or_create(code=f"{prefix}-H1")
    mother = _subject(f"{prefix}-mother", household=household)
    child = _subject(f"{prefix}-child", household=household, mother=mother)
    household.head = mother
    household.save()
    Consent.objects.get_or_create(subject=mother, defaults={"signed_at": NOON, "version": "1.0"})
    visit = _visit(child, "1000")
    outcome = ListItem.objects.get(list_name="outcome", name="alive")
    crf, _ = Crf.objects.get_or_create(visit=visit, defaults={"weight": Decimal("3.250"), "outcome": outcome})
    crf.answers = {"cough": True, "text": "naïve “quotes” \\ and\nlines", "number": 12345678901234567890123}
    crf.save()
    crf.save()
    child.first_name = "Ōtāne"
    child.save(update_fields=["first_name"])


@scenario
def bulk_create(prefix: str) -> None:
    """Create many rows in one statement, then children that refer to them."""
    site = _site()
    start = Subject.objects.filter(subject_identifier__startswith=f"{prefix}-bulk").count()
    subjects = Subject.objects.bulk_create(
        Subject(subject_identifier=f"{prefix}-bulk{start + i:04}", first_name=f"No. {i}", site=site) for i in range(50)
    )
    Visit.objects.bulk_create(
        Visit(subject=subject, visit_code=code, report_datetime=NOON)
        for subject in subjects
        for code in ("1000", "2000")
    )
    Tag.objects.bulk_create([Tag(name=f"{prefix}-tag{i}") for i in range(5)], ignore_conflicts=True)
    Tag.objects.bulk_create(
        [Tag(name=f"{prefix}-tag{i}") for i in range(7)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["name"],
    )


@scenario
def bulk_update(prefix: str) -> None:
    """Change many rows to different values in one statement."""
    visits = [_visit(_subject(f"{prefix}-bu{i}"), "1000") for i in range(10)]
    for number, visit in enumerate(visits):
        visit.reason = f"reason {number}"
        visit.report_datetime = NOON + dt.timedelta(days=number)
    Visit.objects.bulk_update(visits, ["reason", "report_datetime"])


@scenario
def update(prefix: str) -> None:
    """Change many rows by one expression, F of their own columns among them."""
    for number in range(4):
        _specimen(_subject(f"{prefix}-up{number}"), 1)
    mine = Requisition.objects.filter(visit__subject__subject_identifier__startswith=f"{prefix}-up")
    mine.update(tubes=F("tubes") + 2)
    Subject.objects.filter(subject_identifier__startswith=f"{prefix}-up").update(
        first_name=Concat(F("first_name"), Value("!"))
    )
    mine.filter(visit__subject__subject_identifier=f"{prefix}-up0").update(tubes=F("tubes"))


@scenario
def get_or_create(prefix: str) -> None:
    """Ask for rows that may be there: both laptops create the same household and tag."""
    for _ in range(2):
        household, _ = Household.objects.get_or_create(code="shared-household")
        Tag.objects.get_or_create(name="shared-tag")
        Subject.objects.update_or_create(
            subject_identifier=f"{prefix}-goc",
            defaults={"first_name": "Amina", "site": _site(), "household": household},
        )


@scenario
def cascade(prefix: str) -> None:
    """Delete a subject with all that hangs on it; what only refers to it is set to null."""
    mother = _subject(f"{prefix}-gone")
    _subject(f"{prefix}-orphan", mother=mother)
    Consent.objects.get_or_create(subject=mother, defaults={"signed_at": NOON, "version": "1.0"})
    Crf.objects.get_or_create(visit=_visit(mother, "1000"))
    specimen = _specimen(mother, 1)
    Reading.objects.create(specimen=specimen, value=1.5)
    order = Order.objects.create(subject=mother, placed_at=NOON)
    OrderLine.objects.create(order=order, drug="aspirin", quantity=1)
    mother.delete()


@scenario
def savepoints(prefix: str) -> None:
    """Roll back to savepoints inside a transaction that commits, and roll a whole one back."""
    with transaction.atomic():
        _subject(f"{prefix}-kept")
        try:
            with transaction.atomic():
                _subject(f"{prefix}-undone")
                Subject.objects.filter(subject_identifier=f"{prefix}-kept").update(first_name="Undone")
                raise UndoneError
        except UndoneError:
            pass
        with transaction.atomic():
            _visit(_subject(f"{prefix}-kept"), "1000")
    try:
        with transaction.atomic():
            _subject(f"{prefix}-never")
            raise UndoneError
    except UndoneError:
        pass


@scenario
def recreate(prefix: str) -> None:
    """Delete rows and create the same natural keys again, under new ids and UUIDs."""
    for _ in range(3):
        Subject.objects.filter(subject_identifier=f"{prefix}-again").delete()
        subject = _subject(f"{prefix}-again")
        _specimen(subject, 1)
    with transaction.atomic():
        Specimen.objects.filter(code=f"{prefix}-again-S1").delete()
        _specimen(subject, 1)


@scenario
def rename(prefix: str) -> None:
    """Change natural keys: of a row that others refer to, and two that swap."""
    subject = _subject(f"{prefix}-typo")
    _visit(subject, "1000")
    Subject.objects.filter(subject_identifier=f"{prefix}-right").delete()
    subject.subject_identifier = f"{prefix}-right"
    subject.save()
    one, _ = Box.objects.get_or_create(label=f"{prefix}-box-1")
    two, _ = Box.objects.get_or_create(label=f"{prefix}-box-2")
    with transaction.atomic():
        Box.objects.filter(pk=one.pk).update(label=f"{prefix}-swap")
        Box.objects.filter(pk=two.pk).update(label=f"{prefix}-box-1")
        Box.objects.filter(pk=one.pk).update(label=f"{prefix}-box-2")


@scenario
def many_to_many(prefix: str) -> None:
    """Add, remove, set and clear relations, and fill the through model."""
    subject, other = _subject(f"{prefix}-m2m"), _subject(f"{prefix}-m2m-other")
    tags = [Tag.objects.get_or_create(name=f"{prefix}-m{i}")[0] for i in range(4)]
    subject.tags.add(*tags[:3])
    subject.tags.remove(tags[0])
    subject.tags.set(tags[1:])
    other.tags.set(tags)
    other.tags.clear()
    for arm in Arm.objects.all():
        Enrolment.objects.get_or_create(subject=subject, arm=arm, defaults={"enrolled_on": NOON.date()})
    subject.arms.remove(Arm.objects.get(name="control"))


@scenario
def users(prefix: str) -> None:
    """Give users of the swapped model groups and permissions, whose ids differ on every database."""
    group, _ = Group.objects.get_or_create(name=f"{prefix}-nurses")
    group.permissions.set(Permission.objects.filter(codename__in=["add_visit", "change_visit", "view_subject"]))
    User.objects.filter(username=f"{prefix}-nurse").delete()
    nurse = User.objects.create_user(f"{prefix}-nurse", password="secret", job_title="Nurse")
    nurse.groups.add(group)
    nurse.user_permissions.add(Permission.objects.get(codename="delete_visit", content_type__app_label="clinic"))
    Visit.objects.update_or_create(
        subject=_subject(f"{prefix}-reported"),
        visit_code="1000",
        defaults={"report_datetime": NOON, "reporter": nurse},
    )


@scenario
def generic(prefix: str) -> None:
    """Point to rows of any table, by integer ids and by ids as text."""
    subject = _subject(f"{prefix}-noted")
    subject.notes.all().delete()
    subject.notes.create(code=f"{prefix}-N1", text="by the subject's relation")
    Note.objects.update_or_create(
        code=f"{prefix}-N2",
        defaults={
            "content_type": ContentType.objects.get_for_model(Visit),
            "object_id": _visit(subject, "1000").pk,
            "text": "for a visit",
        },
    )
    for target in (subject, _specimen(subject, 1)):
        digest = hashlib.sha256(f"{prefix} {target._meta.label}".encode()).hexdigest()
        Attachment.objects.update_or_create(
            sha256=digest,
            defaults={"content_type": ContentType.objects.get_for_model(target), "object_id": str(target.pk)},
        )


@scenario
def history(prefix: str) -> None:
    """Write historical rows: created, changed, deleted, and in bulk by a manager of simple_history."""
    subject = _subject(f"{prefix}-history")
    subject.first_name = "Changed"
    subject.save()
    visit = _visit(subject, "1000")
    visit.reason = "changed"
    visit.save()
    visit.delete()
    subject.history.filter(history_type="+").update(history_change_reason="registered")


@scenario
def inheritance(prefix: str) -> None:
    """Create, change and delete rows that live in a parent's and a child's table."""
    subject = _subject(f"{prefix}-inherit")
    Admission.objects.filter(code__startswith=f"{prefix}-A").delete()
    first = Admission.objects.create(code=f"{prefix}-A1", subject=subject, ward="west")
    Admission.objects.create(code=f"{prefix}-A2", subject=subject, ward="east").delete()
    first.ward = "north"
    first.code = f"{prefix}-A3"
    first.save()


@scenario
def keyless(prefix: str) -> None:
    """Write rows that have no natural key: orders with lines, and readings known by a UUID only."""
    subject = _subject(f"{prefix}-orders")
    specimen = _specimen(subject, 1)
    box, _ = Box.objects.get_or_create(label=f"{prefix} Box")
    specimen.box = box
    specimen.save()
    Reading.objects.bulk_create(
        Reading(specimen=specimen, value=value, raw=bytes(range(256))) for value in (0.1, -0.0, 1e300)
    )
    for number in range(2):
        order = Order.objects.create(subject=subject, placed_at=NOON)
        OrderLine.objects.bulk_create(OrderLine(order=order, drug="aspirin", quantity=number) for _ in range(3))
    OrderLine.objects.filter(order=order).update(quantity=F("quantity") * 2)
    order.orderline_set.first().delete()


@scenario
def late_parent(prefix: str) -> None:
    """Insert a child before its parent, as deferred foreign keys allow inside one transaction."""
    Subject.objects.filter(subject_identifier=f"{prefix}-late").delete()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT nextval(pg_get_serial_sequence('clinic_subject', 'id'))")
            (number,) = cursor.fetchone()
        Visit.objects.bulk_create([Visit(subject_id=number, visit_code="1000", report_datetime=NOON)])
        Subject.objects.bulk_create(
            [Subject(id=number, subject_identifier=f"{prefix}-late", first_name="Late", site=_site())]
        )
