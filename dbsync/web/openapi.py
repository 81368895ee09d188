"""The operations as an OpenAPI 3.1 document. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dbsync.web.operations import PARAMETERS, TEXT, Access, Json, Operation

VERSION = "1"
"""Of what is spoken, which stands in every path; the program's own versions come and go below it."""
ERRORS: Mapping[int, str] = {
    400: "The request is malformed, or was damaged on the way.",
    401: "Who asks is not known, was revoked, or asks a second time; or his clock is wrong.",
    403: "It is not his to ask.",
    404: "There is no such path.",
    405: "The path knows no such method.",
    409: "It does not follow what is here.",
    413: "It is too large.",
    422: "It is nothing of this version.",
    503: "Come again, after as many seconds as Retry-After says.",
    507: "There is no room; come again.",
}
JSON = "application/json"
_PARAMETER = re.compile(r"{(\w+)}")
_SIGNING = ("Signature", "Signature-Input", "Content-Digest", "Dbsync-To")


def document(title: str, operations: Iterable[Operation]) -> dict[str, Any]:
    """Describe a server."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": VERSION,
            "description": "How requests and answers are signed, and what each means: docs/reference/http.md.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "headers": {name: {"schema": TEXT} for name in _SIGNING[:3]},
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": "RFC 9421, Ed25519, with Signature-Input, Content-Digest (RFC 9530) and Dbsync-To beside it.",
                }
            },
        },
    }


_ERROR: Json = {
    "type": "object",
    "properties": dict.fromkeys(("error", "what", "why", "hint", "now"), TEXT) | {"waits_for_row": {"type": "boolean"}},
    "required": ["error", "what", "why", "hint"],
    "additionalProperties": False,
}


def _described(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.what,
        "parameters": [*_parameters(operation)],
        "responses": {
            "200": _answer("It is done.", operation.answer, operation.gives or JSON),
            **{
                str(status): _answer(what, {"$ref": "#/components/schemas/Error"})
                for status, what in _errors(operation)
            },
        },
    }
    if operation.access is not Access.ANYBODY:
        described["security"] = [{"signature": []}]
    if operation.raw is not None:
        described["requestBody"] = _body(operation.raw, {"type": "string", "format": "binary"})
    if operation.body is not None:
        described["requestBody"] = _body(JSON, operation.body)
    return described


def _errors(operation: Operation) -> Sequence[tuple[int, str]]:
    if operation.access is Access.ANYBODY:
        return [(status, ERRORS[status]) for status in (404, 405, 503)]
    return list(ERRORS.items())


def _parameters(operation: Operation) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": PARAMETERS[name]}
    for name, schema in operation.query.items():
        yield {"name": name, "in": "query", "required": True, "schema": schema}


def _body(kind: str, schema: Json) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema}}}


def _answer(what: str, schema: Json, kind: str = JSON) -> dict[str, Any]:
    return {"description": what, "content": {kind: {"schema": schema}}}
