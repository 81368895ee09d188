"""``python -m tests.clinic.trail.day PREFIX``: a day at the clinic; somebody is entered by mistake, and deleted."""

import sys

import django


def day(prefix: str) -> None:
    """Let it happen; all that is entered has the prefix in its name."""
    import reversion  # noqa: PLC0415 - all of these want Django to be set up
    from django.contrib.auth.models import User  # noqa: PLC0415
    from guardian.shortcuts import assign_perm  # noqa: PLC0415

    from tests.clinic.trail.models import Patient, Place, Sample  # noqa: PLC0415

    nurse = User.objects.create_user(f"{prefix}-nurse")
    place = Place.objects.create(name=f"{prefix}-north")
    with reversion.create_revision():
        kept = Patient.objects.create(code=f"{prefix}-1", name="Ann", place=place)
        reversion.set_user(nurse)
    mistaken = Patient.objects.create(code=f"{prefix}-2", name="Bob", place=place)
    kept.tags.add("seen", f"{prefix}-tag")
    mistaken.tags.add("seen")
    for patient in (kept, mistaken):
        Sample.objects.create(patient=patient)
    assign_perm("change_patient", nurse, kept)
    with reversion.create_revision():
        kept.name = "Anna"
        kept.save()
    mistaken.delete()


if __name__ == "__main__":
    django.setup()
    day(sys.argv[1])
