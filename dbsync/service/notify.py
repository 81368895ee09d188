"""Telling systemd how the service is: one datagram, nothing where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send a state (``READY=1``, ``STOPPING=1``, ``STATUS=...``) to the socket that systemd named, if it did."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)  # the changes matter more than who is told
