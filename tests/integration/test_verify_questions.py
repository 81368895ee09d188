"""What an upstream answers to questions that no node of this version asks: that it is none, and never more."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbsync.catalog.inspect import inspect
from dbsync.errors import FormatError, Refusal
from dbsync.model.registration import Registry
from dbsync.postgres import connect
from dbsync.verify.answers import QUESTIONS, answer
from dbsync.verify.comparison import compare_tables
from dbsync.verify.distant import Distant
from dbsync.verify.questions import Json
from tests.integration.comparing import PLANS
from tests.integration.test_verify import clinic  # noqa: F401 - a fixture
from tests.support.databases import ONE_MIXTURE, Pair

pytestmark = ONE_MIXTURE

Path = tuple[Any, ...]

odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 2**62, 2**64, 1.5, "", "x", "\x00", "no such table", [], [[]], {}, ["a"], {"a": 1}]
)


@pytest.fixture
def upstream(clinic: Pair) -> Iterator[tuple[psycopg.Connection, list[tuple[str, Json]]]]:  # noqa: F811
    """Give an upstream, and each question that a comparison with it asks."""
    clinic.upstream.script("UPDATE subject SET initials = 'x' WHERE identifier = 'S-2'; DELETE FROM crf")
    clinic.upstream.script("UPDATE note SET text = 'x'")
    questions: list[tuple[str, Json]] = []
    with connect(clinic.source.dsn, name="source") as source, connect(clinic.upstream.dsn, name="upstream") as there:

        def ask(asks: str, question: Json) -> Json:
            questions.append((asks, question))
            return answer(there, asks, question)

        catalog = inspect(source)
        registry = Registry(tables={plan.key.table: plan.registered(catalog) for plan in PLANS})
        compare_tables(registry, source, Distant(ask=ask))
        assert {asks for asks, _ in questions} == set(QUESTIONS)
        yield there, questions


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Give the way to every value inside."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, found in inside:
        yield from places(found, (*path, step))


def about(question: Any) -> str:
    """Name the table that a question is about."""
    return str(question["subject"]["table"]["table"][1])


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def test_a_reference_by_a_column_of_another_type_is_refused(
    upstream: tuple[psycopg.Connection, list[tuple[str, Json]]],
) -> None:
    connection, questions = upstream
    question = copy.deepcopy(next(q for asks, q in questions if asks == "buckets" and about(q) == "crf"))
    at(question, ("subject", "table", "key", "parts", 0, "target", "parts", 0, "columns"))[0] = "at"
    with pytest.raises(Refusal, match="cannot be compared"):
        answer(connection, "buckets", question)
    assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_no_node_asks_is_refused_and_nothing_breaks(
    upstream: tuple[psycopg.Connection, list[tuple[str, Json]]], data: st.DataObject
) -> None:
    connection, questions = upstream
    asks, question = data.draw(st.sampled_from(questions))
    changed = copy.deepcopy(question)
    for _ in range(data.draw(st.integers(1, 2))):
        ways = list(places(changed))[1:]
        way = data.draw(st.sampled_from(ways))
        elsewhere = at(changed, data.draw(st.sampled_from(ways)))
        at(changed, way[:-1])[way[-1]] = copy.deepcopy(data.draw(odd | st.just(elsewhere)))
    with suppress(FormatError, Refusal):
        answer(connection, data.draw(st.just(asks) | st.sampled_from(sorted(QUESTIONS))), changed)
    assert connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
