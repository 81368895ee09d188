"""What streams and subjects at a broker are called, and what a node may do there. Pure.

Each upstream has two streams: one in which its nodes leave sealed bundles, each on a subject of its own, and one in which each node
finds the latest that the upstream signed for it. Nodes never make a stream or a consumer, so that all that a node may do is
said by names of subjects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_DOT = "~"
"""Stands for a dot in names: subjects are divided by dots, and names never hold this."""


@dataclass(frozen=True, slots=True)
class Subjects:
    """Those of one upstream."""

    upstream: str

    @property
    def batches_stream(self) -> str:
        """Name the stream of what nodes leave."""
        return f"dbsync-{_token(self.upstream)}-batches"

    @property
    def papers_stream(self) -> str:
        """Name the stream of what is signed for them."""
        return f"dbsync-{_token(self.upstream)}-papers"

    def batches(self, node: str) -> str:
        """Name where one node leaves its bundles.

        >>> Subjects("community").batches("field-07.b")
        'dbsync.community.batches.field-07~b'
        """
        return f"dbsync.{_token(self.upstream)}.batches.{_token(node)}"

    def papers(self, node: str) -> str:
        """Name where one node finds what was signed for it."""
        return f"dbsync.{_token(self.upstream)}.papers.{_token(node)}"

    @property
    def all_batches(self) -> str:
        """Name all subjects of bundles."""
        return f"dbsync.{_token(self.upstream)}.batches.*"

    @property
    def all_papers(self) -> str:
        """Name all subjects of what is signed."""
        return f"dbsync.{_token(self.upstream)}.papers.*"

    def node_of(self, subject: str) -> str:
        """Give the node whose subject it is.

        >>> Subjects("community").node_of("dbsync.community.batches.field-07~b")
        'field-07.b'
        """
        return subject.rpartition(".")[2].replace(_DOT, ".")

    def node_may_publish(self, node: str) -> Sequence[str]:
        """Name all that a node may say: its own bundles, and two questions about its own subjects."""
        last = "$JS.API.DIRECT.GET"
        return (
            self.batches(node),
            f"{last}.{self.batches_stream}.{self.batches(node)}",
            f"{last}.{self.papers_stream}.{self.papers(node)}",
        )

    def node_may_hear(self, node: str) -> Sequence[str]:
        """Name all that a node may listen to: answers to its own questions."""
        return (f"{inbox(node)}.>",)

    def upstream_may_publish(self) -> Sequence[str]:
        """Name what the upstream may say: papers, and whatever is to be done with its own two streams."""
        streams = (self.batches_stream, self.papers_stream)
        verbs = ("CREATE", "UPDATE", "INFO", "PURGE", "MSG.DELETE")
        return (
            self.all_papers,
            *(f"$JS.API.STREAM.{verb}.{stream}" for stream in streams for verb in verbs),
            *(f"$JS.API.DIRECT.GET.{stream}{rest}" for stream in streams for rest in ("", ".>")),
        )


def inbox(node: str) -> str:
    """Name what answers to one's questions begin with: nobody else may listen there."""
    return f"_INBOX_{_token(node)}"


def _token(name: str) -> str:
    return name.replace(".", _DOT)
