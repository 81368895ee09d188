"""Triggers that are not what the configuration says. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from dbsync.check.finding import error, ok, warning
from dbsync.check.wording import listed
from dbsync.keys.problems import IDLE
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName

_FOREIGN = "foreign"


def with_slips(findings: Sequence[Finding]) -> list[Finding]:
    """Make patterns that select nothing errors where there are triggers that they may have selected before."""
    if not any(finding.code == "trigger_orphaned" for finding in findings):
        return list(findings)
    idle = [finding.where for finding in findings if finding.code == IDLE]
    return [_as_slip(finding, idle) for finding in findings]


def _as_slip(finding: Finding, idle: Sequence[str]) -> Finding:
    if finding.code == IDLE:
        return replace(finding, severity=Severity.ERROR)
    if finding.code == "trigger_orphaned" and idle:
        remedy = (
            f"mend {listed(idle)} in dbsync.toml if it is misspelt; if they are to go: dbsync install-triggers --remove"
        )
        return replace(finding, remedy=remedy)
    return finding


def of_unread(tables: Sequence[TableName]) -> Iterator[Finding]:
    """Find triggers where there is no upstream: what they write fills the disk, and goes nowhere."""
    if tables:
        what = f"nothing ships what is captured on {listed(tables)}: dbsync.toml has no [upstream]"
        remedy = "dbsync uninstall-triggers --force   or, to pass changes on: write [upstream]"
        yield warning("capture_unread", "upstream", what, remedy)


def of_no_node(triggers: Collection[object]) -> Iterator[Finding]:
    """Find a database in which no node is registered: triggers that are there all the same capture nothing."""
    if triggers:
        what = "no node is registered in this database, and its triggers capture nothing: changes made now are lost"
        yield error("not_installed", "source", what, "dbsync install-triggers   then: dbsync backfill --again")
    else:
        yield warning(
            "not_installed", "source", "no node is registered in this database yet", "dbsync install-triggers"
        )


def of_skipped(ended_by: Sequence[str]) -> Iterator[Finding]:
    """Find settings and subscriptions by which rows are written without firing triggers; each is given as what ends it."""
    if ended_by:
        what = (
            "sessions begin with session_replication_role = replica, or a subscription writes into shipped tables:"
            " what they write fires no trigger, and is lost"
        )
        yield error("triggers_skipped", "source", what, "\n".join(ended_by))


def of_triggers(
    states: Mapping[TableName, str], foreign: Collection[TableName] = (), captured: Collection[TableName] = ()
) -> Iterator[Finding]:
    """Say the state of the triggers, one finding for each state other than installed.

    ``foreign`` are tables whose triggers run something that dbsync did not install: that is said, and not what it looks like.
    ``captured`` are those whose triggers were installed: where they are missing somebody took them away.
    """
    tables: defaultdict[str, list[TableName]] = defaultdict(list)
    for name, state in sorted(states.items()):
        tables[_FOREIGN if name in foreign and state in ("missing", "outdated") else state].append(name)
    if states and set(tables) == {"installed"}:
        yield ok("triggers_installed", "source", f"triggers are installed on all {len(states):,} tables")
    yield from _of_missing([name for name in tables["missing"] if name in captured], lost=True)
    yield from _of_missing([name for name in tables["missing"] if name not in captured], lost=False)
    if "disabled" in tables:
        what = f"changes are lost on {listed(tables['disabled'])}: the triggers are disabled"
        yield error("trigger_disabled", "source", what, "dbsync install-triggers   (enables them again)")
    if _FOREIGN in tables:
        what = f"what runs as dbsync's trigger on {listed(tables[_FOREIGN])} is not what dbsync installed"
        yield error("trigger_foreign", "source", what, "dbsync install-triggers   (puts its own there)")
    if "outdated" in tables:
        of = listed(tables["outdated"])
        what = f"table or configuration changed since the triggers were made on {of}, or that was cut short"
        yield warning("trigger_outdated", "source", what, "dbsync install-triggers")
    if "orphaned" in tables:
        what = f"there are triggers on {listed(tables['orphaned'])}, which the configuration does not ship"
        remedy = "dbsync install-triggers   (removes them), or add the tables to dbsync.toml"
        yield warning("trigger_orphaned", "source", what, remedy)


def _of_missing(tables: Sequence[TableName], *, lost: bool) -> Iterator[Finding]:
    """Say where there are no triggers: an error where there were some, for its changes are expected upstream."""
    if tables and lost:
        what = f"changes are lost on {listed(tables)}: the triggers are gone"
        yield error("trigger_missing", "source", what, "dbsync install-triggers   then: dbsync backfill")
    elif tables:
        what = f"changes are not captured on {listed(tables)}: there are no triggers"
        yield warning("trigger_missing", "source", what, "dbsync install-triggers")
