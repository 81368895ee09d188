"""The commands for people, run in this process against a pipeline's two databases."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from typer.testing import CliRunner

from dbsync.cli.main import app
from dbsync.cli.options import CONFIG_VARIABLE
from tests.support.pipeline import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Give the JSON on stdout."""
        return orjson.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody at the keyboard of the pipeline's node."""

    config: Path

    def type(self, *words: str, stdin: str | None = None) -> Said:
        """Run a command; raise what it raises."""
        try:
            done = CliRunner().invoke(app, ["--config", str(self.config), *words], input=stdin)
        finally:
            os.environ.pop(CONFIG_VARIABLE, None)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Said(code=done.exit_code, out=done.stdout, err=done.stderr)

    def must(self, *words: str, stdin: str | None = None) -> Said:
        """Run a command that has to exit 0."""
        done = self.type(*words, stdin=stdin)
        assert done.code == 0, f"{words}: {done.code}\n{done.out}{done.err}"
        return done


def person(pipeline: Pipeline, folder: Path, tables: str, *, node: str = "field-01") -> Person:
    """Write a dbsync.toml for a pipeline."""
    config = folder / "dbsync.toml"
    config.write_text(
        f'[node]\nname = "{node}"\nsource = "{pipeline.source.dsn}"\n'
        f'[upstream]\nurl = "{pipeline.upstream.dsn}"\nname = "community"\n{tables}'
    )
    return Person(config=config)
