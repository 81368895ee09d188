"""What can be asked on the local network: of a relay, and of a laptop that serves its outbox. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dbsync.web.operations import (
    ABOUT,
    BASE64,
    BUNDLE,
    DIGITS,
    EMPTY,
    ENROL,
    HEALTH,
    OWN_KEYS,
    PAPER,
    PART,
    QUESTION,
    ROTATE,
    SIGNED,
    TEXT,
    TIME,
    WHOLE,
    WORD,
    Access,
    Json,
    Operation,
    bundles,
    form,
    items,
)

SPAN: Json = form({"life": {"type": "string", "pattern": "^[0-9a-f]{8}$"}, "first": WHOLE, "last": WHOLE})

SUCCESSIONS = Operation(
    name="successions",
    method="GET",
    path="/v1/keys/before",
    what="Say, signed by keys of before, that the present ones have taken their place.",
    answer=form({"successions": items(form({"old": WORD, "signature": BASE64, "proof": BASE64}))}),
    access=Access.ANYBODY,
)
RELAY: Sequence[Operation] = (
    HEALTH,
    OWN_KEYS,
    ENROL,
    TIME,
    ABOUT,
    ROTATE,
    Operation(
        name="held",
        method="GET",
        path="/v1/bundles",
        what="Say which bundles of the node that asks are in custody.",
        answer=form({"held": items(TEXT)}),
    ),
    *bundles(
        "Take a bundle that is whole, whose signature comes now, into custody, and give the note of it;"
        " take a paper, of which there is none."
    ),
    Operation(
        name="papers",
        method="GET",
        path="/v1/papers",
        what="Say which sealed papers of the node that asks are here: what it brought, and answers for it.",
        answer=form({"papers": items(TEXT)}),
    ),
    Operation(name="answer", method="GET", path="/v1/papers/{answer}", what="Give an answer.", answer=PAPER),
    Operation(
        name="answer_taken", method="DELETE", path="/v1/papers/{answer}", what="Let go of an answer.", answer=EMPTY
    ),
    Operation(
        name="arrived_lists",
        method="GET",
        path="/v1/lists",
        what="Say, as the upstream signed it, which lists of the node that asks are there.",
        answer=PAPER,
    ),
)
"""What a relay answers."""

OUTBOX: Sequence[Operation] = (
    HEALTH,
    OWN_KEYS,
    SUCCESSIONS,
    TIME,
    Operation(
        name="lay_out",
        method="POST",
        path="/v1/outbox",
        what="Make bundles ready of what the relay that asks does not have, and say of which it has the node has no note.",
        body=form({"held": items(SPAN)}),
        largest=QUESTION,
        answer=form(
            {
                "bundles": items(form({"file": TEXT, "bytes": WHOLE, "signature": BASE64})),
                "unnoted": items(TEXT),
            }
        ),
    ),
    Operation(
        name="papers",
        method="POST",
        path="/v1/papers",
        what="Say which sealed papers lie ready beside those that the relay has.",
        body=form({"held": items(TEXT)}),
        answer=form({"papers": items(form({"file": TEXT, "bytes": WHOLE, "signature": BASE64}))}),
    ),
    Operation(
        name="bring_answer",
        method="PUT",
        path="/v1/papers/{answer}",
        what="Take the upstream's answer to a question.",
        body=SIGNED,
        largest=PART,
        answer=EMPTY,
    ),
    Operation(
        name="bring_arrived",
        method="PUT",
        path="/v1/lists",
        what="Hear, as the upstream signed it, which of the node's lists are there; say of how many it did not know.",
        body=SIGNED,
        largest=PART,
        answer=form({"arrived": WHOLE}),
    ),
    Operation(
        name="outbox_part",
        method="GET",
        path="/v1/outbox/{file}",
        what="Give a part of a bundle or a paper that lies ready.",
        query={"offset": DIGITS},
        gives=BUNDLE,
        answer={"type": "string", "format": "binary"},
    ),
    Operation(
        name="outbox_taken",
        method="PUT",
        path="/v1/outbox/{file}",
        what="Take the relay's custody note for a bundle.",
        body=SIGNED,
        answer=EMPTY,
    ),
    Operation(
        name="bring_receipts",
        method="PUT",
        path="/v1/receipts",
        what="Take the node's receipts, as its upstream signed them; say how many batches they acknowledge.",
        body=SIGNED,
        largest=PART,
        answer=form({"acknowledged": WHOLE}),
    ),
    Operation(
        name="bring_certificate",
        method="PUT",
        path="/v1/certificate",
        what="Take the node's certificate, as its upstream signed it.",
        body=SIGNED,
        largest=PART,
        answer=EMPTY,
    ),
)
"""What a laptop answers relays that come for its bundles."""
