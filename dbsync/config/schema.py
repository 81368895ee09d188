"""dbsync.toml as a JSON Schema, for editors that complete and check what is typed. Pure."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from dbsync.config.models import Config

DIALECT = GenerateJsonSchema.schema_dialect
_NULL = {"type": "null"}


def json_schema() -> dict[str, Any]:
    """Describe a whole dbsync.toml."""
    found = Config.model_json_schema()
    described = {model.__name__: dict(_described(model)) for model in _models(Config)}
    for name, model in {**found.get("$defs", {}), "Config": found}.items():
        for key, value in model.get("properties", {}).items():
            _tidy(value)
            if words := described.get(name, {}).get(key):
                value["description"] = words
    return {"$schema": DIALECT, **found, "title": "dbsync.toml"}


def _tidy(value: dict[str, Any]) -> None:
    """Take what TOML has not: null, and names of Python's."""
    value.pop("title", None)
    choices = [choice for choice in value.get("anyOf", ()) if choice != _NULL]
    if _NULL in value.get("anyOf", ()):
        del value["anyOf"]
        value.update(choices[0] if len(choices) == 1 else {"anyOf": choices})
    if value.get("default", ...) is None or isinstance(value.get("default"), dict):
        del value["default"]  # nothing, or a section whose settings have their own


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Give a model and all that it holds."""
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _models(part)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _parts(part)


def _described(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Give what stands below each setting in the source, in the class or in those that it is made from."""
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind is not BaseModel:
            yield from _documented(kind, {name: field.alias or name for name, field in model.model_fields.items()})


def _documented(kind: type[BaseModel], keys: dict[str, str]) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    for setting, words in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(setting, ast.AnnAssign)
            and isinstance(setting.target, ast.Name)
            and setting.target.id in keys
            and isinstance(words, ast.Expr)
            and isinstance(words.value, ast.Constant)
        ):
            yield keys[setting.target.id], " ".join(str(words.value.value).split())
