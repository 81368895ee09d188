"""What a NATS server has to know of an upstream and its nodes: an account of theirs, and who may do what in it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dbsync.identity.keys import PublicKeys
from dbsync.identity.nkey import nkey
from dbsync.transport.subjects import Subjects, inbox


def account(upstream: str, own: PublicKeys, nodes: Mapping[str, PublicKeys], *, name: str) -> str:
    """Write the account in the form of a NATS server's configuration, to be included into one.

    A node leaves its own bundles and finds its own papers; nobody else's has a name that it may say. What is sealed is read by the
    upstream alone, whatever the broker does.
    """
    return "\n".join(_lines(Subjects(upstream), own, nodes, name)) + "\n"


def _lines(subjects: Subjects, own: PublicKeys, nodes: Mapping[str, PublicKeys], name: str) -> Iterator[str]:
    yield f"# Who may do what for {subjects.upstream}, as dbsync nats config wrote it: after nodes come or go, write it anew."
    yield "accounts {"
    yield f"  {name} {{"
    yield "    jetstream: enabled"
    yield "    users: ["
    hear = (f"{inbox(subjects.upstream)}.>",)
    yield from _user(subjects.upstream, own, subjects.upstream_may_publish(), hear)
    for node, keys in sorted(nodes.items()):
        yield from _user(node, keys, subjects.node_may_publish(node), subjects.node_may_hear(node))
    yield "    ]"
    yield "  }"
    yield "}"


def _user(name: str, keys: PublicKeys, publish: Sequence[str], subscribe: Sequence[str]) -> Iterator[str]:
    yield f"      {{ # {name}"
    yield f"        nkey: {nkey(keys)}"
    yield "        permissions: {"
    yield f"          publish: {_list(publish)}"
    yield f"          subscribe: {_list(subscribe)}"
    yield "        }"
    yield "      }"


def _list(subjects: Iterable[str]) -> str:
    return json.dumps(list(subjects))
