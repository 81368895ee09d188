"""``dbsync status --nagios``: one line and an exit code, as Nagios, Icinga and their kin want it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from dbsync import certificates
from dbsync.alerts.conditions import Condition, Limits, Severity, Situation, judge_from_outside
from dbsync.cli import output
from dbsync.cli.settings import settings
from dbsync.errors import DbsyncError
from dbsync.service.situation import limits, whole_situation

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def nagios(config: Path | None) -> NoReturn:
    """Print the line and end with its code; whatever keeps us from knowing is UNKNOWN."""
    try:
        chosen = settings(config)
        if chosen.serve.certificate is not None:
            certificates.note_own(Path(chosen.serve.certificate))
        found, wanted = whole_situation(chosen), limits(chosen)
    except (DbsyncError, OSError) as error:
        code, text = UNKNOWN, " ".join(str(error).replace("|", "/").split())
    else:
        conditions = judge_from_outside(found, wanted)
        code, text = _code(conditions), f"{_said(found, conditions)} | {' '.join(_numbers(found, wanted))}"
    output.line(f"DBSYNC {_WORDS[code]}: {text}")
    sys.exit(code)


def _code(conditions: Sequence[Condition]) -> int:
    if not conditions:
        return OK
    return CRITICAL if any(one.severity is Severity.CRITICAL for one in conditions) else WARNING


def _said(found: Situation, conditions: Sequence[Condition]) -> str:
    if conditions:
        return "; ".join(one.what for one in conditions)
    if found.link is None:
        return f"{found.node}: nothing waits in quarantine"
    return f"{found.node} -> {found.link} {found.state}, {f'{found.pending:,} pending' if found.pending else 'nothing pending'}"


def _numbers(found: Situation, limits: Limits) -> Iterator[str]:
    """Give what is to be plotted: name=value;warning;critical;least."""
    if found.link is not None:
        limit = "" if limits.lag is None else f"{limits.lag:g}"
        yield f"lag={found.lag or 0:.1f}s;{limit};;0"
        yield f"pending={found.pending};;;0"
        yield f"quarantined={found.quarantined};0;;0"
    yield f"waiting_here={found.waiting_here};0;;0"
