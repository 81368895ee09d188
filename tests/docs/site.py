"""The links of the built manual, followed as a browser would: ``python -m tests.docs.site build/docs``.

Sphinx checks what it resolves itself; this checks what came out of it. Links to other sites are counted and not followed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "srcset"}


class Page(HTMLParser):
    """What a page links to, and where it can be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.places: set[str] = {""}
        self.links: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's id and its link."""
        found = dict(attrs)
        self.places |= {place for name in ("id", "name") if (place := found.get(name))}
        address = found.get(_ADDRESSES.get(tag, ""))
        if address:
            self.links.append(address)


def pages(site: Path) -> dict[Path, Page]:
    """Read a whole site."""
    return {file.resolve(): Page(file.resolve()) for file in sorted(site.rglob("*.html"))}


def elsewhere(link: str) -> bool:
    """Say whether a link leads to another site.

    >>> elsewhere("https://example.org/a#b"), elsewhere("../guide.html#install"), elsewhere("data:image/png;base64,")
    (True, False, True)
    """
    parts = urlsplit(link)
    return bool(parts.scheme or parts.netloc)


def broken(site: dict[Path, Page]) -> Iterator[str]:
    """Name every link that leads nowhere."""
    for page in site.values():
        for link in page.links:
            parts = urlsplit(link)
            target = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file
            if elsewhere(link):
                continue
            if not target.is_file():
                yield f"{page.file.name}: {link}: there is no such file"
            elif target in site and unquote(parts.fragment) not in site[target].places:
                yield f"{page.file.name}: {link}: there is no such place on that page"


def main(folder: Path) -> int:
    """Check a site; say what was found on stderr."""
    site = pages(folder)
    links = [link for page in site.values() for link in page.links]
    if not links:
        print(f"there is no manual in {folder}", file=sys.stderr)
        return 1
    wrong = list(broken(site))
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    away = sum(elsewhere(link) for link in links)
    print(
        f"{len(site):,} pages, {len(links) - away:,} links within, {len(wrong):,} broken; "
        f"{away:,} links to other sites were not followed",
        file=sys.stderr,
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
