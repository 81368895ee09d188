"""Signed HTTP: every request by a node's key, every answer by the upstream's (RFC 9421, Content-Digest of RFC 9530).

A request names the key it is meant for and has a nonce: it can be replayed neither elsewhere nor there. An answer is bound
to its request's signature: a login page of a public network, an answer from yesterday and an answer to somebody else's
question are all told from what the upstream said, whatever TLS was worth on the way. See docs/reference/http.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    algorithms,
)
from http_message_signatures.structures import CaseInsensitiveDict

from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.lateness import LATE

TO = "dbsync-to"
"""The header that names the key of who is meant."""
LABEL = "dbsync"
TAG = "dbsync-1"
"""Signed as well: the version of all this. A reader accepts no other."""
_REQUEST = ("@method", "@path", "@query", TO, "content-digest")
_ANSWER = ("@status", "content-digest", '"signature";req;key="dbsync"')
_ALWAYS = timedelta(days=365_000)


def folded(headers: Mapping[str, str]) -> MutableMapping[str, str]:
    """Give headers by their names, however those are written."""
    found: MutableMapping[str, str] = CaseInsensitiveDict()  # type: ignore[no-untyped-call]  # the library's, without types
    found.update(headers)
    return found


@dataclass(slots=True, kw_only=True)
class Request:
    """A request as far as it is signed. ``url`` is absolute; only its path and query count."""

    method: str
    url: str
    headers: MutableMapping[str, str] = field(default_factory=lambda: folded({}))


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer as far as it is signed."""

    status_code: int
    request: Request
    headers: MutableMapping[str, str] = field(default_factory=lambda: folded({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who signed a request, and what keeps it from being taken twice."""

    key_id: str
    nonce: str
    created: datetime


class Stale(FormatError):
    """A request that is too old, or from the future: its sender's clock may be wrong."""


def sign_request(request: Request, body: bytes, keys: Keys, *, to: str, at: datetime) -> None:
    """Sign a request to the holder of the key ``to``, in place. ``at`` is the time over there, as far as it is known."""
    request.headers[TO] = to
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519)
    prepared = signer.prepare(
        request,
        key_id=keys.public.key_id,
        created=at,
        nonce=secrets.token_urlsafe(18),
        label=LABEL,
        tag=TAG,
        include_alg=False,
        covered_component_ids=_REQUEST,
        body=body,
    )
    signer.apply(request, prepared, keys.sign_raw(prepared.signature_base))


def verify_request(
    request: Request, body: bytes, known: Callable[[str], PublicKeys | None], *, own: str, now: datetime
) -> Sender:
    """Check a request to the holder of the key ``own``; ``known`` gives the keys that belong to a key's name.

    Whether the nonce was used before is for the caller to ask. Raises FormatError, and Stale for an honest signature
    that is not of now.
    """
    found = _verified(request, body, known, required=_REQUEST)
    if request.headers.get(TO) != own:
        raise FormatError("the request is meant for somebody else", where="request")
    created = _created(found)
    if abs(now - created) > LATE:
        raise Stale(
            "the request is not of now", where="request", why=f"it was signed at {created:%Y-%m-%d %H:%M:%S} UTC"
        )
    nonce = str(found.get("nonce", ""))
    if not nonce:
        raise FormatError("the request has no nonce", where="request")
    return Sender(key_id=str(found["keyid"]), nonce=nonce, created=created)


def sign_answer(answer: Answer, body: bytes, keys: Keys, *, at: datetime) -> None:
    """Sign the answer to a signed request, in place."""
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519)
    prepared = signer.prepare(
        answer,
        key_id=keys.public.key_id,
        created=at,
        label=LABEL,
        tag=TAG,
        include_alg=False,
        covered_component_ids=_ANSWER,
        body=body,
    )
    signer.apply(answer, prepared, keys.sign_raw(prepared.signature_base))


def verify_answer(answer: Answer, body: bytes, theirs: PublicKeys) -> datetime:
    """Check an answer by the one whose keys are pinned; give the time it was signed at, by their clock.

    However wrong our own clock is: that it is new is told by the request, whose signature it covers. Raises FormatError.
    """
    found = _verified(answer, body, lambda name: theirs if name == theirs.key_id else None, required=_ANSWER)
    return _created(found)


class _Verifier(HTTPMessageVerifier):
    max_clock_skew = _ALWAYS
    """What is too old is for us to say, by whose clock and how politely."""


class _Resolver(HTTPSignatureKeyResolver):
    def __init__(self, known: Callable[[str], PublicKeys | None]) -> None:
        self._known = known

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey | None:
        found = self._known(key_id)
        return None if found is None else Ed25519PublicKey.from_public_bytes(found.raw_signing_key)

    def resolve_private_key(self, key_id: str) -> None:
        """Signing goes through :meth:`Keys.sign_raw`: no secret key is ever handed to the library."""
        raise NotImplementedError(key_id)


def _verified(
    message: Request | Answer, body: bytes, known: Callable[[str], PublicKeys | None], *, required: tuple[str, ...]
) -> dict[str, int | str]:
    verifier = _Verifier(signature_algorithm=algorithms.ED25519, key_resolver=_Resolver(known))
    try:
        (found,) = verifier.verify(message, max_age=None, expect_tag=TAG, require_components=required, body=body)
    except (InvalidSignature, HTTPMessageSignaturesException, ValueError) as error:
        raise FormatError("the signature is not the expected one", where="message", why=str(error)) from None
    return found.parameters


def _created(parameters: dict[str, int | str]) -> datetime:
    return datetime.fromtimestamp(int(parameters["created"]), UTC)
