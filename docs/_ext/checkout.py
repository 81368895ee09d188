"""Pages that are read in the repository too, as plain Markdown: what Sphinx needs beside that stands here and not in them.

A README lists its folder in words; here it also gets the folder's pages below it. Files of the checkout that are no pages
(tests, units, SQL) are linked to where they are; Sphinx puts a copy beside the manual. The few documents at the top of the
checkout are pages of the manual, and links to them lead there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

_AT_THE_TOP = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")
_PAGES_BELOW = "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Join in where Sphinx has read a page."""
    app.connect("source-read", _page_was_read)
    app.connect("include-read", _file_was_included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _page_was_read(app: Sphinx, name: str, content: list[str]) -> None:
    page = Path(app.srcdir) / f"{name}.md"
    content[0] = _led_within(content[0], read=page, shown=page, manual=Path(app.srcdir))
    if page.name == "README.md":
        content[0] += _PAGES_BELOW


def _file_was_included(app: Sphinx, file: Path, page: str, content: list[str]) -> None:
    manual = Path(app.srcdir)
    content[0] = _led_within(content[0], read=manual / file, shown=manual / f"{page}.md", manual=manual)


def _led_within(text: str, *, read: Path, shown: Path, manual: Path) -> str:
    """Let the links of a text lead, from the page that shows it, to where they lead from the file it was read from."""

    def link(found: re.Match[str]) -> str:
        target = (read.parent / found["path"]).resolve()
        if target.parent == manual.resolve().parent:
            target = manual.resolve() / _AT_THE_TOP.get(target.name, f"../{target.name}")
        return f"]({os.path.relpath(target, shown.resolve().parent)}{found['anchor'] or ''})"

    return _LINK.sub(link, text)
