"""Keys, and messages signed with them: what was not said by their owner, to us, now, is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbsync.errors import ConfigError, FormatError
from dbsync.identity.keys import SEALING_FILE, SIGNING_FILE, Keys, PublicKeys
from dbsync.identity.messages import Answer, Request, Stale, sign_answer, sign_request, verify_answer, verify_request

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NODE, UPSTREAM, STRANGER = Keys.generate(), Keys.generate(), Keys.generate()
PATH = "https://community.example/v1/receipts/last?link=a"


def known(key_id: str) -> PublicKeys | None:
    """Know the node and nobody else."""
    return NODE.public if key_id == NODE.public.key_id else None


def asked(*, by: Keys = NODE, body: bytes = b"{}", at: datetime = NOW, method: str = "POST") -> Request:
    """Sign a request to the upstream."""
    request = Request(method=method, url=PATH)
    sign_request(request, body, by, to=UPSTREAM.public.key_id, at=at)
    return request


def checked(request: Request, body: bytes = b"{}", *, own: Keys = UPSTREAM) -> str:
    """Check it as the upstream does."""
    return verify_request(request, body, known, own=own.public.key_id, now=NOW).key_id


def test_keys_are_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    NODE.save(tmp_path / "keys")
    again = Keys.load(tmp_path / "keys")
    assert again.public == NODE.public
    assert NODE.public.verify(b"said", again.sign(b"said", "by the node")) == "by the node"


def test_keys_that_others_can_read_are_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    NODE.save(tmp_path)
    (tmp_path / SIGNING_FILE).chmod(0o640)
    with pytest.raises(ConfigError) as refused:
        Keys.load(tmp_path)
    assert refused.value.hint == f"chmod 600 {tmp_path / SIGNING_FILE}"


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    NODE.save(tmp_path)
    before = (tmp_path / SEALING_FILE).read_bytes()
    with pytest.raises(ConfigError):
        STRANGER.save(tmp_path)
    assert (tmp_path / SEALING_FILE).read_bytes() == before


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_a_signature_holds_for_its_own_bytes_only(said: bytes, other: bytes) -> None:
    signature = NODE.sign(said, "comment")
    if said == other:
        assert NODE.public.verify(other, signature) == "comment"
        return
    with pytest.raises(FormatError):
        NODE.public.verify(other, signature)


def test_a_request_is_known_by_its_senders_key() -> None:
    assert checked(asked()) == NODE.public.key_id


@pytest.mark.parametrize(
    "change",
    [
        lambda r: setattr(r, "method", "DELETE"),
        lambda r: setattr(r, "url", PATH.replace("link=a", "link=b")),
        lambda r: setattr(r, "url", PATH.replace("last", "first")),
        lambda r: r.headers.update({"dbsync-to": STRANGER.public.key_id}),
        lambda r: r.headers.update({"content-digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"}),
        lambda r: r.headers.update({"signature-input": r.headers["signature-input"].replace(';nonce="', ';nonce="x')}),
        lambda r: r.headers.update({"signature-input": r.headers["signature-input"].replace(' "@query"', "")}),
        lambda r: r.headers.pop("signature"),
    ],
    ids=["method", "query", "path", "destination", "digest", "nonce", "covered", "no signature"],
)
def test_a_request_that_somebody_changed_is_refused(change: object) -> None:
    request = asked()
    change(request)  # type: ignore[operator]  # one of the functions above
    with pytest.raises(FormatError):
        checked(request)


def test_a_request_with_another_body_is_refused() -> None:
    with pytest.raises(FormatError):
        checked(asked(), b"{ }")


def test_a_stranger_is_refused() -> None:
    with pytest.raises(FormatError):
        checked(asked(by=STRANGER))


def test_a_request_to_another_upstream_is_refused() -> None:
    with pytest.raises(FormatError, match="somebody else"):
        checked(asked(), own=STRANGER)


@pytest.mark.parametrize("away", [timedelta(minutes=-6), timedelta(minutes=6), timedelta(days=-3650)])
def test_a_request_by_a_wrong_clock_is_told_from_a_forged_one(away: timedelta) -> None:
    with pytest.raises(Stale):
        checked(asked(at=NOW + away))


def test_an_answer_is_believed_from_the_pinned_key_whatever_our_clock_says() -> None:
    answer = Answer(status_code=200, request=asked())
    sign_answer(answer, b"yes", UPSTREAM, at=NOW)
    assert verify_answer(answer, b"yes", UPSTREAM.public) == NOW


def test_an_answer_to_another_request_is_refused() -> None:
    answer = Answer(status_code=200, request=asked())
    sign_answer(answer, b"yes", UPSTREAM, at=NOW)
    answer.request = asked()
    with pytest.raises(FormatError):
        verify_answer(answer, b"yes", UPSTREAM.public)


@pytest.mark.parametrize("by", [NODE, STRANGER], ids=["the node itself", "a stranger"])
def test_an_answer_by_anybody_else_is_refused(by: Keys) -> None:
    answer = Answer(status_code=200, request=asked())
    sign_answer(answer, b"yes", by, at=NOW)
    with pytest.raises(FormatError):
        verify_answer(answer, b"yes", UPSTREAM.public)


def test_an_answer_with_another_status_or_body_is_refused() -> None:
    answer = Answer(status_code=200, request=asked())
    sign_answer(answer, b"yes", UPSTREAM, at=NOW)
    with pytest.raises(FormatError):
        verify_answer(answer, b"no", UPSTREAM.public)
    answer.status_code = 204
    with pytest.raises(FormatError):
        verify_answer(answer, b"yes", UPSTREAM.public)
