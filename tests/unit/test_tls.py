"""TLS without an authority: a server is believed for the key that signed its certificate, and nobody else is."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dbsync.errors import ConfigError, Unreachable
from dbsync.identity import tls
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Request
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust
from tests.support.certificates import Authority

OURS, STRANGER = Keys.generate(), Keys.generate()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@contextmanager
def server(context: ssl.SSLContext) -> Iterator[str]:
    """Answer every request; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening, context))
        thread.start()
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer(listening: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):  # the end of the test
        while True:
            accepted, _ = listening.accept()
            with suppress(ssl.SSLError), context.wrap_socket(accepted, server_side=True) as line:
                line.recv(4096)
                line.sendall(ANSWER)


def asked(url: str, trust: Trust) -> bytes:
    with Line(url, silence=5.0, trust=trust) as line:
        return line.send(Request(method="GET", url=f"{url}/"), b"").body


def test_the_seed_is_the_secret_half_of_the_signing_key() -> None:
    public = Ed25519PrivateKey.from_private_bytes(OURS.seed).public_key()
    assert public.public_bytes_raw() == OURS.public.raw_signing_key


def test_a_server_is_believed_for_the_key_that_is_pinned() -> None:
    with server(tls.serving(OURS)) as url:
        assert asked(url, Trust(keys=OURS.public)) == b"ok"
        assert asked(url, Trust(anybody=True)) == b"ok"
        for other in (Trust(keys=STRANGER.public), Trust()):
            with pytest.raises(Unreachable, match="by nobody this computer knows"):
                asked(url, other)


def test_who_names_our_key_without_having_it_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keys, "seed", property(lambda _: bytes(32)))
    with server(tls.serving(OURS)) as url, pytest.raises(Unreachable):
        asked(url, Trust(keys=OURS.public))


def test_a_certificate_by_an_authority_does_where_the_key_signed_none(tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Both(Trust):
        """The authority of this test in the system's place."""

        def contexts(self) -> Iterator[ssl.SSLContext | bool]:
            *first, _ = Trust.contexts(self)
            yield from first
            yield ssl.create_default_context(cafile=str(authority.file))

    authority = Authority(tmp_path / "authority")
    made = authority.certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with server(context) as url:
        assert asked(url, Both(keys=OURS.public)) == b"ok"
        assert asked(url, Trust(ca=str(authority.file))) == b"ok"
    with server(tls.serving(OURS)) as url, pytest.raises(Unreachable):
        asked(url, Trust(ca=str(authority.file), keys=OURS.public))


def test_authorities_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        asked("https://127.0.0.1:1", Trust(ca=str(tmp_path / "none.pem")))
