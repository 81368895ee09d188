"""docs/reference/config.md says what the program does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from dbsync.config.explain import explain
from dbsync.config.load import parse
from dbsync.config.models import Config, GenericConfig, RelayConfig, RelaySection
from dbsync.config.problems import InvalidConfig
from dbsync.model.names import TableName

MANUAL = (Path(__file__).parents[2] / "docs" / "reference" / "config.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", MANUAL, re.DOTALL)


def parts() -> dict[str, str]:
    """Give the manual's parts by heading."""
    pieces = re.split(r"^##+ (.*)\n", MANUAL, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def rows(part: str) -> dict[str, str]:
    """Give the keys of a part's table with their defaults."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| ", part, re.MULTILINE))


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Give what a dbsync.toml is made of, as the manual's headings begin: nobody can forget one."""
    for name, field in Config.model_fields.items():
        written = get_args(field.annotation) or (field.annotation,)
        (model,) = (part for part in written if isinstance(part, type) and issubclass(part, BaseModel))
        section = f"[{field.alias or name}]"
        yield f"`{f'[{section}]' if get_origin(field.annotation) is tuple else section}`", model
    yield "Generic references", GenericConfig
    yield "`[relay]`", RelaySection


@pytest.mark.parametrize(
    ("heading", "model"), list(sections()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_manual_has_every_key_with_its_default(heading: str, model: type[BaseModel]) -> None:
    part = next(text for title, text in parts().items() if title.startswith(heading))
    written = rows(part)
    assert list(written) == [field.alias or name for name, field in model.model_fields.items()]
    for name, field in model.model_fields.items():
        default = written[field.alias or name]
        if field.is_required():
            assert default == "required"
        elif default.startswith("`"):
            assert default.removeprefix("`").partition("`")[0] == _as_toml(field.get_default(call_default_factory=True))
        else:
            assert field.default is None


def test_the_manual_names_every_section_of_a_relays_file() -> None:
    part = next(text for title, text in parts().items() if title.startswith("`[relay]`"))
    _, _, besides = part.partition("Besides, as in dbsync.toml: ")
    assert ["[relay]", *re.findall(r"`(\[\w+\])`", besides)] == [f"[{name}]" for name in RelayConfig.model_fields]


def _as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int | float):
        return str(value)
    return "[]" if isinstance(value, tuple) else "{}"


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_of_the_manual_are_read_as_they_stand(text: str) -> None:
    assert isinstance(parse(text, path="dbsync.toml", environ={}), Config)


def test_the_example_of_precedence_does_what_its_comments_say() -> None:
    config = parse(EXAMPLES[1], path="dbsync.toml", environ={})
    assert config.table_for(TableName.parse("clinic_visit")) is not None
    assert config.table_for(TableName.parse("clinic_historicalbox")) is None
    named = config.table_for(TableName.parse("clinic_historicalvisit"))
    assert named is not None
    assert named.key == ("history_id",)


def test_the_screen_in_the_manual_is_what_the_program_shows() -> None:
    text = """\
[node]
name   = "field-07"
source = "service=clinic"
[upstream]
url = "postgresql://sync:${UPSTREAM_PASSWORD}@community/clinic"

[[tables]]
name = "clinic_subject"
keyy = ["number"]
"""
    with pytest.raises(InvalidConfig) as caught:
        parse(text, path="dbsync.toml", environ={})
    assert f"$ dbsync run\n{explain(caught.value.problems)}\n```" in MANUAL
