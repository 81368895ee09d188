"""dbsync as a DBA has it: a configuration and its commands. What is measured runs in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from typer.testing import CliRunner

from dbsync.cli.main import app
from dbsync.config.models import BatchConfig
from dbsync.demo import processes
from dbsync.errors import DbsyncError

MAX_CHANGES = BatchConfig().max_changes
"""Most changes in a batch where the configuration does not say."""

_CONFIG = """\
[node]
name = "bench"
source = "{source}"

[upstream]
url = "{upstream}"

[batch]
max_changes = {max_changes}

[[tables]]
name = "site"
mode = "lookup"

[[tables]]
name = "subject"

[[tables]]
name = "visit"

[[tables]]
name = "crf"
key = ["visit_id"]
"""
_TAIL = 2000


class Node:
    """One source, one upstream, and the folder with the configuration that links them."""

    def __init__(
        self, folder: Path, *, source: str, upstream: str, max_changes: int = MAX_CHANGES, pattern: str = ""
    ) -> None:
        self.max_changes = max_changes
        self._folder = folder
        self._log = folder / "run.log"
        self._service: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        config = _CONFIG.format(source=_toml(source), upstream=_toml(upstream), max_changes=max_changes)
        if pattern:
            config += f'\n[[tables]]\nname = "{pattern}"\n'
        (folder / "dbsync.toml").write_text(config, encoding="utf-8")

    def prepare(self, *words: str) -> None:
        """Run a command that is not measured within this process, which saves starting one."""
        done = CliRunner().invoke(app, [*words, "--config", str(self._folder / "dbsync.toml")])
        if done.exit_code:
            raise DbsyncError(f"dbsync {' '.join(words)}: exit {done.exit_code}", why=str(done.exception))

    def command(self, *words: str, patience: float = 60.0) -> None:
        """Run a command to its end, in so many seconds; raises what it said when it failed."""
        begun = processes.dbsync(words, folder=self._folder, environment=processes.clean_environment())
        given = processes.answer(begun, patience)
        if given.code:
            raise DbsyncError(f"dbsync {' '.join(words)}: exit {given.code}", why="\n".join([given.output, given.talk]))

    def start(self) -> int:
        """Start ``dbsync run`` and give its process id."""
        self._service = processes.dbsync_service(
            folder=self._folder, environment=processes.clean_environment(), log=self._log, keep=False
        )
        return self._service.pid

    def alive(self) -> None:
        """Raise what the service said last, if it has ended."""
        if self._service is None or self._service.poll() is not None:
            raise DbsyncError("dbsync run ended", why=self._log.read_text(errors="replace")[-_TAIL:])

    def stop(self) -> None:
        """End the service as systemd would; do nothing when there is none."""
        service, self._service = self._service, None
        if service is not None and (code := processes.stop(service)) != 0:
            raise DbsyncError(f"dbsync run: exit {code}", why=self._log.read_text(errors="replace")[-_TAIL:])


def _toml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
