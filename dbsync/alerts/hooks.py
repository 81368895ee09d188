"""How somebody is told: a program that is started, an address that is asked. Each has a few seconds, and nobody waits for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from dbsync import __version__
from dbsync.alerts.conditions import Kind, Severity
from dbsync.config.watching import AlertsConfig

PATIENCE = 30.0
"""Seconds in which a program has to come to its end ..."""
ANSWER = 10.0
"""... and an address has to answer."""
KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR")
"""What a program gets of this one's environment, which may hold secrets: what it takes to run, or to show something."""


class HookFailed(Exception):
    """Somebody was not told; the words say why, and no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told."""

    node: str
    alert: str
    subject: str
    state: str
    """``firing``, or ``over`` when it is as it should be again."""
    severity: str
    what: str
    hint: str
    since: str
    at: str

    @property
    def members(self) -> Mapping[str, Any]:
        """Give it as JSON has it; docs/how-to/watch.md says what each is."""
        return {"version": 1, **{name: getattr(self, name) for name in self.__slots__}, "text": self.text}

    @property
    def text(self) -> str:
        """Say it in one line; what chat programs show of a webhook."""
        if self.state == "over":
            return f"dbsync {self.node}: over: {self.what}"
        return f"dbsync {self.node}: {self.severity}: {self.what}   try: {self.hint}"


def trial(node: str) -> Message:
    """Make what is told to try whether somebody hears."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Message(
        node=node,
        alert=Kind.TEST.value,
        subject=node,
        state="firing",
        severity=Severity.WARNING.value,
        what="this is a test, and nothing is the matter",
        hint="dbsync status",
        since=at,
        at=at,
    )


def tell(config: AlertsConfig, hook: str, message: Message) -> None:
    """Tell one of those that ``[alerts]`` names. Raises HookFailed."""
    if hook == "command":
        run(config.command, message)
    elif hook == "webhook" and config.webhook is not None:
        post(config.webhook, message)
    elif hook == "heartbeat" and config.heartbeat is not None:
        beat(config.heartbeat)


def run(command: Sequence[str], message: Message) -> None:
    """Start a program: the message as JSON on its stdin, and in its environment. Raises HookFailed."""
    told = {f"DBSYNC_ALERT_{name.upper()}": str(value) for name, value in message.members.items()}
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    try:
        done = subprocess.run(
            list(command),
            input=orjson.dumps(message.members),
            env={**kept, **told},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HookFailed(f"it took more than {PATIENCE:g} s, and was ended") from None
    except OSError as error:
        raise HookFailed(f"it cannot be started: {(error.strerror or str(error)).lower()}") from None
    if done.returncode != 0:
        raise HookFailed(f"it ended with {done.returncode}")


def post(url: str, message: Message) -> None:
    """Post the message as JSON. Raises HookFailed."""
    _ask("POST", url, orjson.dumps(message.members))


def beat(url: str) -> None:
    """Ask an address that somebody watches, and who hears nothing of us is told by it. Raises HookFailed."""
    _ask("GET", url, None)


def place(url: str) -> str:
    """Name an address by its host alone: what stands behind it is often the secret."""
    return urlsplit(url).hostname or "the address"


def _ask(method: str, url: str, body: bytes | None) -> None:
    import httpx2  # noqa: PLC0415 - takes long to import, and most nodes tell nobody

    headers = {"Content-Type": "application/json", "User-Agent": f"dbsync/{__version__}"}
    try:
        came = httpx2.request(method, url, content=body, headers=headers, timeout=ANSWER)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise HookFailed(f"{place(url)} does not answer: {type(error).__name__}") from None
    if not came.is_success:
        raise HookFailed(f"{place(url)} answers {came.status_code}")
