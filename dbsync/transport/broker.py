"""One connection to a NATS broker, in a thread of its own: what is asked comes back as values, and trouble in a person's words.

nats-py is written for asyncio and dbsync is not: all of it that is used is behind this module, and nobody else imports it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js import errors as js

from dbsync.config import brokers
from dbsync.errors import ConfigError, DbsyncError, Exhausted, Interrupted, NotAdmitted, Unreachable
from dbsync.identity import nkey
from dbsync.identity.keys import Keys
from dbsync.transport.base import AGAIN
from dbsync.transport.subjects import inbox
from dbsync.transport.trust import Trust

CONNECT = 10.0
"""Seconds until a server has let us in; then it is the next one's turn."""
HEADERS = 4096
"""Bytes of a message that its headers may take."""
T = TypeVar("T")
logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.getMessage())
"""asyncio's own streams bring this about whenever a broker ends a line with TLS, and it means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that lies at the broker."""

    subject: str
    seq: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How a stream is to be kept."""

    replicas: int
    messages: int
    """Of one subject."""
    size: int | None = None
    """In bytes; None: as much as the broker has."""


class Full(Exhausted):
    """The broker has no room for a message, or none for this node: nothing is thrown away there for it."""


class Line:
    """What is known of a connection beside the answers that come over it; in the thread of its loop alone."""

    def __init__(self) -> None:
        self.trouble = asyncio.Event()
        """Nothing that was asked before this will be answered."""
        self.refused = ""
        """What the broker said of rights."""
        self.said = ""
        """What was said last."""

    async def hear(self, error: Exception) -> None:
        """Hear what the broker says, or the client of it, of nothing that was asked."""
        words = self.said = _plain(error)
        if "ermissions" in words or "uthorization" in words:
            self.refused = words
            self.trouble.set()

    async def end(self) -> None:
        """Know that it is closed, by whomever."""
        self.trouble.set()

    async def until_trouble(self, work: Coroutine[Any, Any, T]) -> T:
        """Do some work while the connection stands: the client itself would wait for an answer to the end of its patience."""
        doing, trouble = asyncio.ensure_future(work), asyncio.ensure_future(self.trouble.wait())
        try:
            await asyncio.wait({doing, trouble}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise nats.errors.ConnectionClosedError
        finally:
            for one in (doing, trouble):
                one.cancel()


class Broker:
    """A connection, which ends when it breaks: whoever wants another one opens it. Each call waits for its answer."""

    def __init__(
        self, client: Client, line: Line, loop: asyncio.AbstractEventLoop, *, where: str, silence: float
    ) -> None:
        self._client = client
        self._js: JetStreamContext = client.jetstream(timeout=silence)
        self._line = line
        self._loop = loop
        self.where = where

    @property
    def largest(self) -> int:
        """Give how many bytes of data one message may have here."""
        return int(self._client.max_payload) - HEADERS

    def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> bool:
        """Leave a message; say whether it is new: one with an identity that was there a moment ago is dropped.

        When this comes back the broker has it, on as many members as the stream is to have. Raises Full where there is no room.
        """
        try:
            ack = self._done(self._js.publish(subject, data, headers=dict(headers)))
        except js.APIError as error:
            raise self._of_publishing(error) from error
        return not ack.duplicate

    def last(self, stream: str, subject: str) -> Message | None:
        """Give the newest message on a subject, as far as whoever answers knows; None where there is none."""
        return self._got(self._js.get_last_msg(stream, subject, direct=True))

    def next(self, stream: str, subject: str, seq: int) -> Message | None:
        """Give the first message on a subject that has this number or a higher one."""
        return self._got(self._js.get_msg(stream, seq=seq, subject=subject, direct=True, next=True))

    def backlog(self, stream: str, subjects: str) -> Mapping[str, int]:
        """Count the messages that lie there, by subject."""
        info = self._asked(self._js.stream_info(stream, subjects_filter=subjects))
        return dict(info.state.subjects or {})

    def remove(self, stream: str, seq: int) -> None:
        """Remove one message; that it is gone already is no trouble."""
        with suppress(js.NotFoundError, js.BadRequestError, js.ServerError):
            self._done(self._js.delete_msg(stream, seq))

    def remove_until(self, stream: str, subject: str, seq: int) -> None:
        """Remove all messages on a subject up to a number."""
        self._asked(self._js.purge_stream(stream, seq=seq + 1, subject=subject))

    def keep(self, stream: str, subjects: str, room: Room, *, newest_only: bool) -> None:
        """Make a stream, or have it kept as it is to be now.

        With ``newest_only`` each subject holds one message. Else nothing that was taken is thrown away: what finds no room is
        refused.
        """
        wanted = api.StreamConfig(
            name=stream,
            subjects=[subjects],
            retention=api.RetentionPolicy.LIMITS,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.OLD if newest_only else api.DiscardPolicy.NEW,
            discard_new_per_subject=not newest_only,
            max_msgs_per_subject=1 if newest_only else room.messages,
            max_bytes=-1 if room.size is None else room.size,
            num_replicas=room.replicas,
            allow_direct=True,
        )
        try:
            try:
                self._done(self._js.update_stream(wanted))
            except js.NotFoundError:
                self._done(self._js.add_stream(wanted))
        except js.APIError as error:
            raise self._not_made(stream, room, error) from error

    def _got(self, asked: Coroutine[Any, Any, api.RawStreamMsg]) -> Message | None:
        try:
            found = self._done(asked)
        except js.NotFoundError:
            return None
        except js.APIError as error:
            raise self._of_stream(error) from error
        return Message(
            subject=found.subject or "", seq=found.seq or 0, headers=found.headers or {}, data=found.data or b""
        )

    def _asked(self, asked: Coroutine[Any, Any, T]) -> T:
        try:
            return self._done(asked)
        except js.APIError as error:
            raise self._of_stream(error) from error

    def _done(self, work: Coroutine[Any, Any, T]) -> T:
        """Have it done in the connection's own thread."""
        try:
            return asyncio.run_coroutine_threadsafe(self._line.until_trouble(work), self._loop).result()
        except js.APIError:
            raise
        except (nats.errors.NoRespondersError, js.NoStreamResponseError):
            raise self._nobody() from None
        except (nats.errors.Error, OSError, TimeoutError) as error:
            if self._line.refused:
                raise _not_admitted(self.where, self._line.refused) from None
            raise Interrupted("the line to the broker broke", where=self.where, why=_plain(error), hint=AGAIN) from None

    def _of_publishing(self, error: js.APIError) -> DbsyncError:
        words = error.description or ""
        if "maximum" in words and "exceeded" in words:
            why = (
                "as much of this node lies there as may"
                if "per subject" in words
                else "more than may lie there waits for the upstream"
            )
            return Full(
                "the broker is full", where=self.where, why=why, hint="dbsync apply, at the upstream, makes room"
            )
        if "resource" in words or "no space" in words:
            return Full("the broker has no room", where=self.where, why=words, hint="a larger disk there")
        return self._of_stream(error)

    def _of_stream(self, error: js.APIError) -> DbsyncError:
        if isinstance(error, js.NotFoundError) or not error.description:
            return self._nobody()
        return Unreachable("the broker cannot do it now", where=self.where, why=error.description or "", hint=AGAIN)

    def _nobody(self) -> Unreachable:
        return Unreachable(
            "nobody keeps batches there",
            where=self.where,
            why="its streams are not there, or have no leader at this moment",
            hint="dbsync apply, at the upstream, makes them",
        )

    def _not_made(self, stream: str, room: Room, error: js.APIError) -> DbsyncError:
        words = error.description or ""
        if isinstance(error, js.ServiceUnavailableError) and not words:
            return Unreachable("JetStream is not on there", where=self.where, hint="jetstream { store_dir = ... }")
        return ConfigError(
            f"the broker cannot keep {stream} as it is to be kept",
            where=self.where,
            why=f"{words}: {room.replicas} replicas, {_size(room)}",
            hint="[broker] replicas = 1, for a broker that is alone; room: no more than max_file_store there   (in dbsync.toml)",
        )


class _Client(Client):
    """A client that is known by its node's own key.

    nats-py signs with keys of its own kind from a file of its own kind, by a package of its own; what it makes of them are these
    three values.
    """

    def __init__(self, keys: Keys) -> None:
        super().__init__()
        self._auth_configured = True
        self._public_nkey = nkey.nkey(keys.public)
        self.answers = lambda nonce: nkey.answer(nonce, keys)


@contextmanager
def opened(url: str, keys: Keys, *, node: str, ca: str | None, silence: float) -> Iterator[Broker]:
    """Open a connection to the first server that answers.

    Raises Unreachable where none does, NotAdmitted where it does not know our key.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="broker", daemon=True)
    thread.start()
    try:
        client, line, where = _connected(url, keys, loop, _settings(node, silence), Trust(ca=ca))
        try:
            yield Broker(client, line, loop, where=where, silence=silence)
        finally:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                asyncio.run_coroutine_threadsafe(client.close(), loop).result(CONNECT)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _settings(node: str, silence: float) -> dict[str, Any]:
    return {
        "name": f"dbsync {node}",
        "inbox_prefix": inbox(node),
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,  # before the first connection too: 0 would be for ever
        "reconnect_time_wait": 0.01,
        "connect_timeout": math.ceil(min(CONNECT, silence)),
        "ping_interval": math.ceil(silence / 2),
    }


def _connected(
    url: str, keys: Keys, loop: asyncio.AbstractEventLoop, settings: Mapping[str, Any], trust: Trust
) -> tuple[Client, Line, str]:
    """Connect to one server after the other."""
    trouble: DbsyncError | None = None
    for server in brokers.servers(url):
        client, line = _Client(keys), Line()
        own: dict[str, Any] = {
            "servers": [server],
            "signature_cb": client.answers,
            "error_cb": line.hear,
            "closed_cb": line.end,
        }
        if server.startswith("tls://"):
            own["tls"] = _context(trust)
        try:
            asyncio.run_coroutine_threadsafe(client.connect(**settings, **own), loop).result()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            trouble = _no_connection(server, error, line)
            continue
        return client, line, server
    assert trouble is not None
    raise trouble


def _context(trust: Trust) -> ssl.SSLContext:
    """Give what checks the server's certificate."""
    found = next(trust.contexts())
    return found if isinstance(found, ssl.SSLContext) else ssl.create_default_context()


def _no_connection(server: str, error: Exception, line: Line) -> DbsyncError:
    words = line.said if isinstance(error, nats.errors.NoServersError) and line.said else _plain(error)
    if line.refused or "uthorization" in words:
        return _not_admitted(server, "it does not know our key")
    return Unreachable("the broker does not answer", where=server, why=words, hint=AGAIN)


def _not_admitted(where: str, why: str) -> NotAdmitted:
    return NotAdmitted(
        "the broker does not let this node do that",
        where=where,
        why=why,
        hint="dbsync nats config   (at the upstream: what the broker has to know of its nodes)",
    )


def _size(room: Room) -> str:
    return "whatever room there is" if room.size is None else f"{room.size / 1_000_000:,.0f} MB"


def _plain(error: Exception) -> str:
    """Say it in a person's words where these are known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, socket.gaierror):
        return "its name is not found"
    return str(error).removeprefix("nats: ").strip() or type(error).__name__
