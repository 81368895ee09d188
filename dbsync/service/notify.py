"""Telling systemd how the service is: one datagram, nothing where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

TIMES = 3
"""How often systemd hears from us in the time after which it would give us up."""


def notify(state: str) -> None:
    """Send a state (``READY=1``, ``STOPPING=1``, ``STATUS=...``) to the socket that systemd named, if it did."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)  # the changes matter more than who is told


@contextlib.contextmanager
def vouching(alive: Callable[[], bool]) -> Iterator[None]:
    """While inside, tell systemd's watchdog that the program is alive, for as long as it is; then systemd starts it anew."""
    pause = _pause(os.environ)
    if pause is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_vouch, args=(alive, pause, stop), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _vouch(alive: Callable[[], bool], pause: float, stop: threading.Event) -> None:
    while True:
        if alive():
            notify("WATCHDOG=1")
        if stop.wait(pause):
            return


def _pause(environ: Mapping[str, str]) -> float | None:
    """Give the seconds between two words to the watchdog; None where nobody waits for them, or for another process's."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000 / TIMES or None
    except ValueError:
        return None
