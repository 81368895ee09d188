"""Live pages: one look for all who listen, to each what has changed, and never more than it reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import cast

import pytest
from starlette.responses import StreamingResponse

from dbsync.dashboard import live as module
from dbsync.dashboard.live import EACH, END, Live
from dbsync.errors import Unreachable

ALL = ("health", "nodes")


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)
    monkeypatch.setattr(module, "SHARE", 0)


class Told:
    """What a database says, look by look."""

    def __init__(self, *looks: Mapping[str, str] | Exception) -> None:
        self.looks = list(looks)
        self.asked: list[set[str]] = []

    def __call__(self, wanted: Collection[str]) -> Mapping[str, str]:
        self.asked.append(set(wanted))
        found = self.looks[min(len(self.asked), len(self.looks)) - 1]
        if isinstance(found, Exception):
            raise found
        return {name: html for name, html in found.items() if name in wanted}


def stream(
    live: Live, browser: bytes = b"one", wanted: Collection[str] = ALL, still_in: Callable[[], bool] = lambda: True
) -> AsyncGenerator[bytes, None]:
    """Open a page."""
    answer = live.listen(browser, wanted, still_in)
    assert isinstance(answer, StreamingResponse)
    return cast(AsyncGenerator[bytes, None], answer.body_iterator)


async def heard(chunks: AsyncGenerator[bytes, None], until: str) -> list[tuple[str, str]]:
    """Read events up to the first of a name, or with these words."""
    found = []
    async for chunk in chunks:
        for block in chunk.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in lines:
                found.append((lines["event"], lines.get("data", "")))
        if any(until in (name, said) for name, said in found):
            return found
    return found


def test_two_who_look_share_every_look_and_are_sent_what_changed() -> None:
    told = Told({"health": "a", "nodes": "1"}, {"health": "a", "nodes": "1"}, {"health": "a", "nodes": "2"})

    async def listen() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        live = Live(look=told)
        async with aclosing(stream(live)) as one, aclosing(stream(live, b"two", ["nodes"])) as two:
            return await asyncio.gather(heard(one, "2"), heard(two, "2"))

    one, two = asyncio.run(asyncio.wait_for(listen(), 30))
    assert sorted(one) == [("away", ""), ("health", "a"), ("nodes", "1"), ("nodes", "2")]
    assert sorted(two) == [("away", ""), ("nodes", "1"), ("nodes", "2")]
    assert set(ALL) in told.asked


def test_whoever_comes_later_is_sent_how_things_are() -> None:
    told = Told({"health": "a", "nodes": "1"})

    async def listen() -> list[tuple[str, str]]:
        live = Live(look=told)
        async with aclosing(stream(live)) as first:
            await heard(first, "1")
            async with aclosing(stream(live, b"two")) as second:
                return await heard(second, "1")

    assert ("health", "a") in asyncio.run(asyncio.wait_for(listen(), 30))


def test_nobody_looks_while_nobody_listens() -> None:
    told = Told({"health": "a"})

    async def listen() -> int:
        live = Live(look=told)
        async with aclosing(stream(live)) as only:
            await heard(only, "a")
        beating = live._beating
        assert beating is not None
        await beating
        return len(told.asked)

    before = asyncio.run(asyncio.wait_for(listen(), 30))
    assert len(told.asked) == before


def test_a_slow_browser_is_sent_the_newest_and_no_queue() -> None:
    told = Told(*({"health": str(number)} for number in range(50)))

    async def listen() -> list[tuple[str, str]]:
        live = Live(look=told)
        async with aclosing(stream(live)) as slow, aclosing(stream(live, b"two")) as quick:
            await anext(slow)  # it is there, and reads nothing
            await heard(quick, "49")
            return await heard(slow, "49")

    found = [said for name, said in asyncio.run(asyncio.wait_for(listen(), 30)) if name == "health"]
    assert len(found) <= 2, found
    assert found[-1] == "49"


def test_a_browser_with_many_pages_keeps_the_newest_live() -> None:
    async def listen() -> list[tuple[str, str]]:
        live = Live(look=Told({"health": "a"}))
        pages = [stream(live) for _ in range(EACH + 1)]
        for page in pages:
            await heard(page, "a")
        assert len(live._listeners) == EACH + 1
        first = await heard(pages[0], END)
        other = stream(live, b"two")
        assert ("health", "a") in await heard(other, "a"), "another browser has its own"
        return first

    assert asyncio.run(asyncio.wait_for(listen(), 30)) == [(END, "")]


def test_streams_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)

    async def listen() -> None:
        live = Live(look=Told({"health": "a"}))
        async with aclosing(stream(live)) as one:
            await heard(one, "a")
            with pytest.raises(Unreachable):
                stream(live, b"two")
        async with aclosing(stream(live, b"two")) as two:
            await heard(two, "a")

    asyncio.run(asyncio.wait_for(listen(), 30))


def test_a_database_that_is_away_is_said_and_comes_back() -> None:
    told = Told({"health": "a"}, Unreachable("away"), RuntimeError("a value"), {"health": "a"})

    async def listen() -> list[tuple[str, str]]:
        live = Live(look=told)
        async with aclosing(stream(live)) as page:
            return [*await heard(page, "Not live: a bug in dbsync."), *await heard(page, "away")]

    found = [said for name, said in asyncio.run(asyncio.wait_for(listen(), 30)) if name == "away"]
    assert found[-2:] == ["Not live: a bug in dbsync.", ""]
    assert set(found[:-2]) <= {"", "Not live: the database is out of reach. It is tried again."}


def test_whoever_is_logged_out_hears_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BREATH", 0.0)
    assert asyncio.run(asyncio.wait_for(_last_of(lambda: False), 30)) == (END, "")


async def _last_of(still_in: Callable[[], bool]) -> tuple[str, str]:
    return (await heard(stream(Live(look=Told({"health": "a"})), still_in=still_in), END))[-1]


def test_a_server_that_stops_ends_every_page_which_then_looks_for_it_again() -> None:
    async def listen() -> list[tuple[str, str]]:
        live = Live(look=Told({"health": "a"}))
        page = stream(live)
        await heard(page, "a")
        live.stop()
        rest = await heard(page, "never")
        with pytest.raises(Unreachable):
            stream(live)
        return rest

    assert END not in dict(asyncio.run(asyncio.wait_for(listen(), 30)))
