"""What is typed and read where a broker is on the way: from an account to receipts, over TLS."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.brokered import SERVER, Brokered, brokered
from tests.support.brokers import NatsServer
from tests.support.certificates import Authority
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.program import Forked
from tests.support.served import free_port
from tests.support.service import PATIENCE

pytestmark = ONE_MIXTURE


def dbsync(folder: Path, *words: str) -> tuple[int, str, str]:
    """Type a command in a folder; give its exit code, what it says and what it talks."""
    out, err = folder / "said", folder / "talked"
    for file in (out, err):
        file.write_text("")
    code = Forked(folder, words, {}, out, err).wait(PATIENCE)
    return code, out.read_text(), err.read_text()


def over_tls(programme: Brokered, authority: Authority) -> None:
    """Have everybody speak TLS, and believe the authority."""
    for name in (SERVER, *programme.fleet.sources):
        path = programme.of(name) / "dbsync.toml"
        text = path.read_text().replace("nats://", "tls://")
        path.write_text(re.sub(r'^(url = "tls.*)$', rf'\1\nca = "{authority.file}"', text, flags=re.MULTILINE))


def test_from_an_account_to_receipts(databases: Databases, pair: Pair, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    shown = authority.certificate()
    broker = NatsServer(
        tmp_path / "broker", free_port(), f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}\n'
    )
    programme = brokered(databases, pair, tmp_path, [broker], nodes=1)
    node, server = programme.of("n00"), programme.server
    assert dbsync(node, "run", "--once")[0] == 69
    broker.start()
    try:
        code, _, said = dbsync(node, "run", "--once")
        assert (code, "certificate is not believed" in said or "TLS" in said or "tls" in said) == (69, True), said
        over_tls(programme, authority)
        assert "dbsync apply, at the upstream" in dbsync(node, "check")[1]
        assert dbsync(server, "apply", "--once")[:2] == (0, "nothing was there\n")
        programme.insert("n00", ["a", "b"])
        assert dbsync(node, "run", "--once")[1:] == (
            "2 changes left at the broker\n",
            "receipts outstanding for 2 batches\n",
        )
        assert "2 changes are with the broker" in dbsync(node, "status")[1]
        assert json.loads(dbsync(server, "nats", "backlog", "--json")[1]) == [{"node": "n00", "messages": 2}]
        assert dbsync(server, "apply", "--once")[:2] == (0, "2 changes in 2 batches taken in\n")
        assert dbsync(server, "nats", "backlog")[1] == "nothing waits at the broker\n"
        assert dbsync(node, "run", "--once")[1].startswith("2 batches acknowledged")
        assert dbsync(node, "check")[0] == 0
        programme.hold_that_all_is_there_once()
    finally:
        broker.stop()


def test_the_account_names_who_is_enrolled_and_holds_no_secret(
    databases: Databases, pair: Pair, tmp_path: Path
) -> None:
    broker = NatsServer(tmp_path / "broker", free_port())
    programme = brokered(databases, pair, tmp_path, [broker], nodes=3)
    programme.upstream.sql("UPDATE dbsync.peer SET revoked_at = now() WHERE name = 'n01'")
    code, account, _ = dbsync(programme.server, "nats", "config", "--account", "DEMO")
    assert code == 0
    assert re.findall(r"\{ # (\S+)", account) == [SERVER, "n00", "n02"]
    assert len(re.findall(r"nkey: U[A-Z2-7]{55}$", account, re.MULTILINE)) == 3
    for key in programme.folder.glob("*/keys/*"):
        assert key.read_text().splitlines()[-1] not in account
    assert dbsync(programme.server, "nats", "config", "--account", "a b")[0] == 2


@pytest.mark.parametrize(("words", "code"), [(("apply",), 2), (("apply", "--from", "nats://elsewhere.org"), 2)])
def test_a_broker_has_to_be_named(
    databases: Databases, pair: Pair, tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    (tmp_path / "dbsync.toml").write_text('[node]\nname = "community"\nsource = "service=nowhere"\n')
    found, _, said = dbsync(tmp_path, *words)
    assert (found, "tls://" in said) == (code, True)
