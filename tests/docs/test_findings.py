"""Every finding is explained, the page says what the program finds, and the faults that people meet are injected by tests."""

from __future__ import annotations

import pytest

from dbsync.check.explained import explain, explanations
from dbsync.errors import UsageError
from tests.docs import findings

WANTED = {
    "missing trigger": "trigger_missing",
    "disabled trigger": "trigger_disabled",
    "outdated trigger": "trigger_outdated",
    "foreign trigger": "trigger_foreign",
    "lost privilege": "privilege_table",
    "key no longer unique": "key_not_unique",
    "column drift": "column_missing_upstream",
    "clock skew": "clock_skew",
    "disk low": "disk_low",
    "log bloat": "log_bloated",
    "long transaction holding back purge": "transaction_long",
    "inactive link": "link_silent",
    "quarantine growing": "quarantine_growing",
    "certificate near expiry": "certificate_expires",
    "revoked key": "key_revoked",
    "wrong incarnation": "incarnation_wrong",
    "old version at the other end": "version_old",
    "old schema at the other end": "schema_outdated",
    "pooler in transaction mode": "transaction_pooler",
    "wal trouble": "wal_kept",
    "vacuum trouble": "autovacuum_off",
    "missing index for key resolution": "key_not_unique_upstream",
    "statement timeouts too short": "timeout_short",
    "oversize rows": "row_oversize",
    "generic reference to an unregistered table": "generic_unregistered",
    "lookup rows missing upstream": "lookup_missing_upstream",
    "circular keys": "circle_required",
    "duplicate node name": "node_name_taken",
}
"""What a DBA expects to be told, in his words."""


def test_every_finding_is_explained_and_nothing_else() -> None:
    explained = set(explanations())
    assert set(findings.severities()) - explained == set()
    assert explained - findings.literals() == set()


def test_the_page_of_findings_is_what_the_program_says() -> None:
    assert findings.PAGE.read_text() == findings.page(), "python -m tests.docs.manual"


@pytest.mark.parametrize("fault", WANTED)
def test_a_fault_that_a_dba_expects_to_be_told_of_is_injected(fault: str) -> None:
    assert findings.tested().get(WANTED[fault])


def test_a_finding_is_explained_at_the_keyboard_and_a_slip_is_understood() -> None:
    assert "ids never travel" in explain("key_is_local").means
    with pytest.raises(UsageError) as caught:
        explain("trigger_mising")
    assert caught.value.hint == "did you mean trigger_missing?"
