"""``dbsync config show`` shows every setting that holds and where it was said, and no secret; its schema knows every setting."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from dbsync.config.effective import Setting, effective
from dbsync.config.load import as_read
from dbsync.config.schema import json_schema
from tests.integration.people import Person
from tests.unit.test_config_manual import EXAMPLES

FILE = """\
[node]
name = "field-07"
source = "host=db user=clinic password='s3cret word'"

[upstream]
url = "postgresql://sync:${UPSTREAM_PASSWORD}@community/clinic"
ca = "ca.pem"

[[tables]]
name = "clinic_*"
except = ["*_tmp"]

[[tables]]
name = "clinic_note"
generic = [{ type = "content_type_id", id = "object_id" }]
[tables.references]
id = "clinic_subject"

[batch]
max_changes = 500
"""
ENVIRON = {"UPSTREAM_PASSWORD": "hidden"}


def shown(*, defaults: bool = False) -> dict[str, Setting]:
    config = as_read(FILE, Path("/etc/dbsync/dbsync.toml"), ENVIRON)
    return {setting.name: setting for setting in effective(config, FILE, defaults=defaults)}


def test_each_setting_says_in_which_line_it_stands() -> None:
    lines = {name: setting.line for name, setting in shown().items() if setting.line is not None}
    assert lines == {
        "node.name": 2,
        "node.source": 3,
        "upstream.url": 6,
        "upstream.ca": 7,
        "tables[0].name": 10,
        "tables[0].except": 11,
        "tables[1].name": 14,
        "tables[1].generic": 15,
        "tables[1].references": 16,
        "batch.max_changes": 20,
    }


def test_settings_have_the_values_that_hold() -> None:
    found = {name: setting.value for name, setting in shown().items()}
    assert found["batch.max_changes"] == 500
    assert found["retention.keep"] == "7d"
    assert found["node.keys"] == "/etc/dbsync/keys"
    assert found["upstream.ca"] == "/etc/dbsync/ca.pem"
    assert found["tables[1].references"] == {"id": "clinic_subject"}
    assert found["tables[1].generic"] == [{"type": "content_type_id", "id": "object_id", "targets": {}}]
    assert "tables[0].on_conflict" not in found
    assert shown(defaults=True)["tables[0].on_conflict"].value == "source"


def test_no_secret_is_shown() -> None:
    said = json.dumps([setting.value for setting in shown(defaults=True).values()], default=str)
    assert "hidden" not in said
    assert "s3cret" not in said
    assert shown()["node.source"].value == "host=db user=clinic password=***"
    assert shown()["upstream.url"].value == "postgresql://sync:${UPSTREAM_PASSWORD}@community/clinic"


def test_what_is_shown_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_PASSWORD", "hidden")
    config = tmp_path / "dbsync.toml"
    config.write_text(FILE)
    out = Person(config=config).must("config", "show", "--defaults").out
    assert out.startswith(f"# {config}\n")
    assert re.search(r'^name = "field-07" +# line 2$', out, re.MULTILINE)
    again = as_read(out, config, ENVIRON)
    assert again.tables == as_read(FILE, config, ENVIRON).tables
    assert Person(config=config).must("config", "show", "--json").json["file"] == str(config)


def judged(text: str) -> list[str]:
    validator = Draft202012Validator(json_schema())
    return [".".join(map(str, error.instance_path)) for error in validator.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("text", [*EXAMPLES, FILE])
def test_the_schema_takes_what_dbsync_takes(text: str) -> None:
    assert judged(text) == []


def test_the_schema_points_at_what_is_wrong() -> None:
    assert judged(FILE.replace("max_changes = 500", 'max_changes = "many"')) == ["batch.max_changes"]
    assert judged(FILE.replace("except =", "exept =")) == ["tables.0"]
    assert judged(FILE.replace('name = "clinic_*"', 'name = "clinic_*"\non_conflict = "mine"')) == [
        "tables.0.on_conflict"
    ]


def test_the_schema_is_json_schema_and_says_what_settings_mean() -> None:
    schema: dict[str, Any] = json_schema()
    meta.validate(schema)
    described = schema["$defs"]["BatchConfig"]["properties"]["max_changes"]
    assert described["description"].startswith("A batch is closed by the transaction that reaches")
    assert set(schema["properties"]) >= {"node", "upstream", "tables", "batch"}
    assert '"null"' not in json.dumps(schema)
    assert ": null" not in json.dumps(schema), "TOML has none"
