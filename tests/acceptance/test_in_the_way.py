"""Whatever is in the way of a laptop that runs: status says what, in words for who sits before it, and it goes on by itself."""

from __future__ import annotations

import re
import shlex
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from dbsync.config.load import load
from dbsync.identity.code import write_code
from dbsync.identity.keys import Keys
from dbsync.service.status import status
from tests.acceptance.test_https_route import Laptop, answering, laptop
from tests.support import clock
from tests.support.certificates import DAY, Authority, Certificate
from tests.support.databases import ONE_MIXTURE
from tests.support.service import ServiceProcess, until
from tests.support.tunnel import proxy

pytestmark = ONE_MIXTURE
__all__ = ["laptop"]
CODE = write_code(bytes(10), Keys.generate().public.fingerprint)


@contextmanager
def greeting(port: int, shown: Certificate) -> Iterator[None]:
    """Show a certificate to whoever comes, and say nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate, shown.key)

    def greet() -> None:
        with suppress(OSError):  # the end
            while True:
                with listening.accept()[0] as accepted, suppress(OSError):
                    accepted.settimeout(5)
                    context.wrap_socket(accepted, server_side=True).close()

    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def tells(laptop: Laptop, words: str) -> None:
    """Wait until this is in the way, and let a person ask for it."""
    config = load(laptop.folder / "dbsync.toml", {})
    until(lambda: words in (status(config).link.reason or ""), f"{words!r} is not told")
    told = laptop.type("status").out
    assert "field-01 -> community   unreachable" in told
    assert words in told
    assert "1 change waits safely in the source" in told


def enrolled(laptop: Laptop) -> None:
    """Have it enrolled, and one change made since."""
    with laptop.serving() as url:
        assert laptop.enrol(url).code == 0
    laptop.insert("one")


def test_a_running_service_names_what_is_in_the_way_and_ships_when_it_is_gone(laptop: Laptop) -> None:
    enrolled(laptop)
    others = Authority(laptop.folder / "others")
    with ServiceProcess(laptop.folder) as service:
        tells(laptop, "the server refuses the connection")
        with answering(b"<html>Room number?</html>", laptop.port):
            tells(laptop, "is this a network with a login page? open a browser and log in to it")
        with greeting(laptop.port, others.certificate()):
            tells(laptop, "the server's certificate is by nobody this computer knows")
        with greeting(laptop.port, laptop.authority.certificate(-2 * DAY, -DAY)):
            tells(laptop, "the server's certificate has expired")
        with greeting(laptop.port, laptop.authority.certificate(DAY, 2 * DAY)):
            tells(laptop, "by this computer's clock: is that right? set it if not")
        laptop.configure("https://community.invalid:8443")
        service.reload()
        tells(laptop, "there is no network, or it knows no names (DNS)")
        laptop.configure(f"https://127.0.0.1:{laptop.port}")
        service.reload()
        with laptop.serving():
            until(lambda: laptop.arrived() == 1, "it does not go on")
            config = load(laptop.folder / "dbsync.toml", {})
            until(lambda: status(config).link.state == "streaming", "and does not say so")
            assert service.terminate() == 0


def test_a_service_behind_a_proxy_that_refuses_says_so_and_ships_when_it_is_let_through(laptop: Laptop) -> None:
    enrolled(laptop)
    with proxy(refuses=True) as way, laptop.serving(), ServiceProcess(laptop.folder, environ=way.environ) as service:
        tells(laptop, f"the proxy 127.0.0.1:{way.port} does not let this through")
        way.refuses = False
        until(lambda: laptop.arrived() == 1, "it does not go on")
        assert service.terminate() == 0


@pytest.mark.skipif(not clock.available(), reason="libfaketime is not installed")
@pytest.mark.parametrize("years", [11, -11])
def test_a_service_whose_clock_is_years_wrong_names_it_and_ships_when_it_is_set(laptop: Laptop, years: int) -> None:
    enrolled(laptop)
    with laptop.serving():
        with ServiceProcess(laptop.folder, environ=clock.wrong_by(years)) as service:
            tells(laptop, "by this computer's clock: is that right?")
            assert f"it is {clock.year(years)}-" in laptop.reason()
            service.kill()  # libfaketime's sleep does not take a signal as Python's does
        with ServiceProcess(laptop.folder) as service:
            until(lambda: laptop.arrived() == 1, "it does not go on")
            assert service.terminate() == 0


def test_a_command_that_meets_it_says_what_to_type_and_promises_nothing(laptop: Laptop) -> None:
    enrolled(laptop)
    for words in (
        ("run", "--once"),
        ("verify",),
        ("check",),
        ("enrol", f"https://127.0.0.1:{laptop.port}", CODE, "--replace"),
    ):
        done = laptop.type(*words)
        said = done.out + done.err
        assert re.search(r"try +type the same again once that is over", said), (words, said)
        assert "it is tried again" not in said
    with greeting(laptop.port, Authority(laptop.folder / "others").certificate()):
        said = laptop.type("run", "--once").err
    assert f'in [upstream], url = "https://127.0.0.1:{laptop.port}" and ca = "file.pem"' in said


def test_a_node_that_was_revoked_is_told_all_that_lets_it_come_back(laptop: Laptop) -> None:
    enrolled(laptop)
    with laptop.serving() as url:
        laptop.operator("nodes", "revoke", "field-01", "--reason", "left in a taxi")
        said = laptop.type("run", "--once").err
        assert "at the upstream: dbsync nodes invite field-01" in said
        assert "once the old keys are moved away: dbsync nodes keys --new, dbsync enrol URL CODE" in said
        refused = laptop.type("nodes", "keys", "--new")
        _, _, moving = refused.err.partition("for others: ")
        subprocess.run(shlex.split(moving.partition("   ")[0]), check=True, cwd=laptop.folder)
        assert laptop.type("nodes", "keys", "--new").code == 0
        assert laptop.enrol(url).code == 0
        assert laptop.type("run", "--once").code == 0
    assert laptop.arrived() == 1
