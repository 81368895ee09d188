"""A small OpenTelemetry collector: what programs post to it over HTTP, as spans."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.listening import Handler, listening_with


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A span as it came."""

    name: str
    program: str
    node: str
    trace: str
    span: str
    parent: str
    """Empty for the first of its program."""
    facts: dict[str, str | int]
    failed: str
    """What kind of error it ended with; empty if with none."""


class Collector:
    """What came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    @property
    def spans(self) -> list[Told]:
        """Give the spans of all programs, in the order in which they came."""
        return [span for body in self.bodies for span in _spans(ExportTraceServiceRequest.FromString(body))]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """Listen at an address of this computer; give what is heard, and the address."""
    found = Collector()

    class Ear(Handler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            body = self.rfile.read(int(self.headers["content-length"]))
            found.bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

    with listening_with(Ear) as address:
        yield found, f"{address}/v1/traces"


def _spans(request: ExportTraceServiceRequest) -> Iterator[Told]:
    for resource in request.resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Told(
                    name=span.name,
                    program=about["dbsync.program"],
                    node=about["service.instance.id"],
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    facts={one.key: one.value.string_value or one.value.int_value for one in span.attributes},
                    failed=span.status.message,
                )
