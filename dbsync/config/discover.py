"""Which configuration file is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from dbsync.config.problems import FILE_NAME
from dbsync.errors import ConfigError

INIT_HINT = 'dbsync init --source "service=..." --upstream "postgresql://..."'
SYSTEM_WIDE = Path("/etc/dbsync") / FILE_NAME


def discover(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Find the configuration file: ``--config``, else ``DBSYNC_CONFIG``, else the first of the usual places.

    The first two are taken at their word, so that a slip in a path is reported instead of another file being used.
    Raises ConfigError, naming all places, when there is no file in any of them.
    """
    if option is not None:
        return option
    named = environ.get("DBSYNC_CONFIG", "")
    if named:
        return Path(named)
    places = usual_places(environ)
    for place in places:
        if _is_file(place):
            return place
    raise _none(places)


def closed(place: Path) -> str:
    """Say what to type about a file that may be there, and that this account may not read."""
    return (
        f"ls -ld {quote(str(place.parent))} {quote(str(place))}   shows who may;"
        f" as that account: sudo -u NAME dbsync --config {quote(str(place))} ..."
    )


def _none(places: Sequence[Path]) -> ConfigError:
    """Say that nothing was found; where one may not look, that is said instead: a second file would be a second node."""
    hidden = next((place for place in places if _is_hidden(place)), None)
    if hidden is not None:
        return ConfigError(
            "no configuration file was found, and one may be where this account may not look",
            where=str(hidden),
            why=f"{hidden.parent} may not be entered",
            hint=closed(hidden),
        )
    return ConfigError(
        "there is no configuration file",
        where=FILE_NAME,
        why=f"looked for {', '.join(str(place) for place in places)}",
        hint=f"{INIT_HINT}      or name the file: --config FILE",
    )


def usual_places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """List where a configuration file is looked for: here, in the home directory, system-wide."""
    home = environ.get("HOME", "")
    in_home = (Path(home) / ".config" / "dbsync" / FILE_NAME,) if home else ()
    return (Path(FILE_NAME), *in_home, SYSTEM_WIDE)


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # a directory that may not be entered holds no file for us
        return False


def _is_hidden(place: Path) -> bool:
    try:
        place.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return False
