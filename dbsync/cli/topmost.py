"""``dbsync status`` on a server without an upstream: who is enrolled, and what waits for a person."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from dbsync.check.wording import listed
from dbsync.cli import output
from dbsync.config.models import Config
from dbsync.service.topmost import Topmost
from dbsync.service.topmost import topmost as gather
from dbsync.verify.words import counted


def show(config: Config, *, json: bool) -> None:
    """Print how such a server stands."""
    found = gather(config)
    if json:
        output.as_json(
            {
                "node": {"name": found.name},
                "link": None,
                "waiting_here": found.waiting_here,
                "nodes": found.nodes,
                "captured": [str(table) for table in found.captured],
            }
        )
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in _lines(found):
        console.print(line)


def _lines(found: Topmost) -> list[Text]:
    lines = [
        Text(f"{found.name}   has no upstream: others bring their changes here, and it passes on none"),
        Text(f"{counted(found.nodes, 'node')} enrolled: dbsync nodes list"),
    ]
    if found.waiting_here:
        waits = f"{counted(found.waiting_here, 'change')} {'waits' if found.waiting_here == 1 else 'wait'}"
        lines.append(Text(f"{waits} here in quarantine: dbsync quarantine list --here", style="bold yellow"))
    else:
        lines.append(Text("nothing waits in quarantine"))
    if found.captured:
        what = f"nothing ships what is captured on {listed(found.captured)}"
        lines.append(Text(f"{what}: dbsync uninstall-triggers --force   or write [upstream]", style="bold red"))
    return lines
