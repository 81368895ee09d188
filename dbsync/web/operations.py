"""What can be asked over HTTP, as data: the routes of a server and its OpenAPI document are made of it. Pure.

What relays and laptops answer stands in :mod:`dbsync.web.local`. docs/reference/http.md says what each means; here stands its form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]

SMALL = 1 << 16
"""Bytes that are read of a request which brings no batch."""
PART = 1 << 20
"""Bytes of a part of a batch or a bundle at most."""
QUESTION = 4 << 20
"""Bytes of a question about a table at most."""


class Access(StrEnum):
    """Who is answered."""

    ANYBODY = "anybody"
    NEWCOMER = "newcomer"
    """Whoever signs with the key he brings."""
    KNOWN = "known"
    """Whoever signs with a key that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be asked."""

    name: str
    method: str
    path: str
    what: str
    answer: Json
    """The schema of an answer with status 200."""
    query: Mapping[str, Json] = field(default_factory=dict)
    body: Json | None = None
    """The schema of a JSON body."""
    raw: str | None = None
    """The media type of a body that is no JSON."""
    gives: str | None = None
    """The media type of an answer that is no JSON."""
    largest: int = SMALL
    access: Access = Access.KNOWN


def form(members: Mapping[str, Json]) -> Json:
    """Say an object of exactly these members."""
    return {
        "type": "object",
        "properties": dict(members),
        "required": sorted(members),
        "additionalProperties": False,
    }


def items(schema: Json, length: int | None = None) -> Json:
    """Say a list, of so many items where that is fixed."""
    fixed = {} if length is None else {"minItems": length, "maxItems": length}
    return {"type": "array", "items": schema, **fixed}


def row(*schemas: Json) -> Json:
    """Say a list whose items stand for different things: of which kinds they are, not at which place each."""
    kinds = [schema for place, schema in enumerate(schemas) if schema not in schemas[:place]]
    return items(either(*kinds), len(schemas))


def either(*schemas: Json) -> Json:
    """Say one of several."""
    return {"anyOf": list(schemas)}


NOTHING: Json = {"type": "null"}
TEXT: Json = {"type": "string"}
WORD: Json = {"type": "string", "minLength": 1, "maxLength": 200}
WHOLE: Json = {"type": "integer", "minimum": 0}
DIGITS: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}
UUID: Json = {"type": "string", "format": "uuid"}
MOMENT: Json = {"type": "string", "format": "date-time"}
HASH: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
BASE64: Json = {"type": "string", "contentEncoding": "base64"}
LEAVES: Json = items(either(TEXT, NOTHING))
EMPTY: Json = form({})

KEYS = {"signing": WORD, "sealing": WORD}
LIFE = {"incarnation": UUID, "link": WORD}
TAKEN_IN: Json = form({"name": TEXT, "signing": TEXT, "sealing": TEXT})
OFFSET: Json = form({"offset": WHOLE})
KEPT: Json = form({"offset": WHOLE, "hash": HASH})
SIGNED: Json = form({"data": BASE64, "signature": BASE64})
PAPER: Json = either(SIGNED, form({"data": NOTHING}))
RECEIPT: Json = form(
    {"node": TEXT, "incarnation": UUID, "number": DIGITS, "hash": HASH, "applied_at": MOMENT, "held": WHOLE}
)
TABLE: Json = items(TEXT, 2)
VIEW: Json = items(
    form({"table": TABLE, "rows": WHOLE, "columns": items(row(TEXT, TEXT, {"type": "boolean"}, either(TEXT, NOTHING)))})
)
SUBJECT: Json = form({"table": {"type": "object"}, "models": items(items(TEXT)), "source": VIEW, "names": items(TEXT)})
BUCKET: Json = {"type": "integer", "minimum": -1}
CUT: Json = form({"bits": {"type": "integer", "minimum": 0, "maximum": 48}, "numbers": items(BUCKET)})

BUNDLE = "application/vnd.dbsync.bundle"

PARAMETERS: Mapping[str, Json] = {
    "id": HASH,
    "file": {
        "type": "string",
        "pattern": r"^[A-Za-z0-9._-]{1,63}\.([0-9a-f]{8}\.[0-9]{6,18}-[0-9]{6,18}\.dbsync|[0-9a-f-]{36}\.(list|question)\.age)$",
    },
    "answer": {"type": "string", "pattern": r"^[A-Za-z0-9._-]{1,63}\.[0-9a-f-]{36}\.answer\.age$"},
    "node": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,63}$"},
}
"""What stands in paths."""

HEALTH = Operation(
    name="health",
    method="GET",
    path="/v1/health",
    what="Say whether requests can be answered.",
    answer=form({"status": TEXT, "version": WHOLE}),
    access=Access.ANYBODY,
)
OWN_KEYS = Operation(
    name="own_keys",
    method="GET",
    path="/v1/keys",
    what="Give this server's public keys; who asks knows their fingerprint, or the keys.",
    answer=form(KEYS),
    access=Access.ANYBODY,
)
ENROL = Operation(
    name="enrol",
    method="POST",
    path="/v1/enrol",
    what="Be let in, with the secret half of an invitation's code, sealed for this server.",
    body=form({"name": WORD, "code": BASE64, **KEYS}),
    answer=TAKEN_IN,
    access=Access.NEWCOMER,
)
TIME = Operation(name="time", method="GET", path="/v1/time", what="Tell the time.", answer=form({"now": MOMENT}))
ABOUT = Operation(
    name="about",
    method="GET",
    path="/v1/about",
    what="Say which dbsync answers, and which database it takes the node that asks for.",
    answer=form({"program": TEXT, "lineage": either(UUID, NOTHING)}),
)
ROTATE = Operation(
    name="rotate",
    method="POST",
    path="/v1/rotate",
    what="Be known by other keys from now on.",
    body=form({**KEYS, "proof": BASE64}),
    answer=EMPTY,
)


def bundles(finishing: str) -> tuple[Operation, ...]:
    """Say how a bundle or a sealed paper comes; what is done at its end differs."""
    path = "/v1/bundles/{file}"
    return (
        Operation(
            name="bundle_kept",
            method="GET",
            path=path,
            what="Say how much of a bundle or a paper is here.",
            answer=KEPT,
        ),
        Operation(
            name="bundle_part",
            method="PATCH",
            path=path,
            what="Take a part of a bundle or a paper.",
            query={"offset": DIGITS},
            raw=BUNDLE,
            largest=PART,
            answer=OFFSET,
        ),
        Operation(name="bundle_forget", method="DELETE", path=path, what="Forget what is here of it.", answer=EMPTY),
        Operation(name="bundle_finish", method="PUT", path=path, what=finishing, raw="text/plain", answer=PAPER),
        Operation(
            name="receipts",
            method="GET",
            path="/v1/bundles/{node}/receipts",
            what="Give a node's receipts, as the upstream signed them.",
            answer=PAPER,
        ),
        Operation(
            name="carried_certificate",
            method="GET",
            path="/v1/bundles/{node}/certificate",
            what="Give a node's certificate, as the upstream signed it.",
            answer=PAPER,
        ),
    )


def _question(name: str, what: str, body: Mapping[str, Json], answer: Mapping[str, Json]) -> Operation:
    return Operation(
        name=f"verify_{name}",
        method="POST",
        path=f"/v1/verify/{name}",
        what=what,
        body=form(body),
        largest=QUESTION,
        answer=form(answer),
    )


UPSTREAM: Sequence[Operation] = (
    HEALTH,
    OWN_KEYS,
    ENROL,
    TIME,
    ABOUT,
    ROTATE,
    Operation(
        name="clock",
        method="POST",
        path="/v1/clock",
        what="Hear by how many seconds a node's clock is ahead.",
        body=form({"off": {"type": "number"}}),
        answer=EMPTY,
    ),
    Operation(
        name="greet",
        method="POST",
        path="/v1/greeting",
        what="Hear how a node is: its version, its clock, what it still has and who carries it.",
        body=form(
            {
                "program": WORD,
                "schema": WORD,
                "clock_off": either({"type": "number"}, NOTHING),
                "pending": WHOLE,
                "exact": {"type": "boolean"},
                "oldest": either(MOMENT, NOTHING),
                "carried": items(form({"relay": WORD, "changes": WHOLE, "since": MOMENT})),
            }
        ),
        answer=EMPTY,
    ),
    Operation(
        name="last_receipt",
        method="GET",
        path="/v1/receipts/last",
        what="Give the newest receipt of one life of the node that asks.",
        query=LIFE,
        answer=form({"receipt": either(RECEIPT, NOTHING)}),
    ),
    Operation(
        name="above",
        method="GET",
        path="/v1/receipts/above",
        what="Say up to which batch each tier above has everything of it.",
        query=LIFE,
        answer=form({"above": {"type": "object", "additionalProperties": either(WHOLE, NOTHING)}}),
    ),
    Operation(
        name="certificate",
        method="GET",
        path="/v1/certificate",
        what="Certify what is here of it.",
        query=LIFE,
        answer=PAPER,
    ),
    Operation(
        name="tend",
        method="POST",
        path="/v1/tend",
        what="Try again what waits in quarantine, and say what waits still of one database.",
        body=form({"lineage": UUID}),
        answer=form({"waiting": {"type": "object", "additionalProperties": WHOLE}}),
    ),
    Operation(
        name="keep_list",
        method="POST",
        path="/v1/lists",
        what="Keep a box that was checked against the data: its list, signed and sealed.",
        body=form({"sealed": BASE64}),
        largest=QUESTION,
        answer=EMPTY,
    ),
    Operation(
        name="batch_kept", method="GET", path="/v1/batches/{id}", what="Say how much of a batch is here.", answer=KEPT
    ),
    Operation(
        name="batch_part",
        method="PATCH",
        path="/v1/batches/{id}",
        what="Take a part of a batch; with the last one, apply it.",
        query={"offset": DIGITS, "complete": {"type": "string", "enum": ["true", "false"]}},
        raw="application/vnd.dbsync.batch",
        largest=PART,
        answer=either(OFFSET, form({"receipt": RECEIPT})),
    ),
    Operation(
        name="batch_forget", method="DELETE", path="/v1/batches/{id}", what="Forget what is here of it.", answer=EMPTY
    ),
    _question(
        "view",
        "Say what is here of some tables.",
        {"tables": items(TABLE)},
        {"encoding": TEXT, "tables": VIEW},
    ),
    _question(
        "buckets",
        "Sum up a table's rows by buckets.",
        {"subject": SUBJECT, "bits": WHOLE, "within": CUT},
        {"buckets": items(row(BUCKET, WHOLE, TEXT))},
    ),
    _question(
        "match",
        "Say which rows of the source differ from those here.",
        {"subject": SUBJECT, "cut": CUT, "rows": items(row(WHOLE, LEAVES, TEXT, LEAVES))},
        {"differing": items(row(TEXT, WHOLE, WHOLE)), "extra": WHOLE},
    ),
    _question(
        "columns",
        "Say in which columns rows differ.",
        {"subject": SUBJECT, "rows": items(row(LEAVES, LEAVES))},
        {"rows": items(row(LEAVES, items(TEXT)))},
    ),
    *bundles(
        "Apply a bundle that is whole, whose signature comes now, and give its sender's receipts;"
        " keep a list, and say which are here; answer a question."
    ),
)
"""What an upstream answers; bundles to relays only."""
