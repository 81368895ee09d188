"""Small transactions, as an application enters them: over several connections, each a process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, LiteralString

import psycopg

from tests.benchmarks import study

CLIENTS = 2
CHANGES = 6
"""Rows that one transaction changes."""

_SUBJECT: LiteralString = """
    INSERT INTO subject (subject_identifier, site_id, dob, sex) VALUES (%s, %s, '1990-02-03', 'F') RETURNING id
"""
_VISIT: LiteralString = """
    INSERT INTO visit (subject_id, visit_code, visit_date) VALUES (%s, %s, now()) RETURNING id
"""
_EDIT: LiteralString = "UPDATE crf SET notes = %s, modified = now() WHERE id = %s"


def enter(pool: ProcessPoolExecutor, dsn: str, tag: str, each: int) -> float:
    """Let every client enter so many subjects with two visits and crfs, and edit one; give the seconds it took."""
    running = [pool.submit(_enter_all, dsn, f"{tag}-{client}", each) for client in range(CLIENTS)]
    times = [client.result() for client in running]
    return max(end for _, end in times) - min(began for began, _ in times)


def edit(pool: ProcessPoolExecutor, dsn: str, crfs: Sequence[int]) -> None:
    """Let the clients edit crfs, a transaction each."""
    for client in [pool.submit(_edit_all, dsn, crfs[client::CLIENTS]) for client in range(CLIENTS)]:
        client.result()


def _enter_all(dsn: str, tag: str, count: int) -> tuple[float, float]:
    """Give begin and end on the machine's clock."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT 1")
        connection.commit()
        began = time.monotonic()
        for number in range(count):
            _enter(connection, f"{tag}-{number}", 1 + number % 10)
            connection.commit()
        return began, time.monotonic()


def _enter(connection: psycopg.Connection[Any], identifier: str, site: int) -> None:
    subject = _id(connection.execute(_SUBJECT, [identifier, site]))
    for code in ("V1", "V2"):
        visit = _id(connection.execute(_VISIT, [subject, code]))
        crf = _id(connection.execute(study.CRF, [visit]))
    connection.execute("UPDATE crf SET weight = 62, modified = now() WHERE id = %s", [crf])


def _edit_all(dsn: str, crfs: Sequence[int]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number, crf in enumerate(crfs):
            connection.execute(_EDIT, [f"edit {number}", crf])


def _id(cursor: psycopg.Cursor[Any]) -> int:
    ((number,),) = cursor.fetchall()
    return int(number)
