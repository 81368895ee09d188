"""Addresses of the stick route: ``file://`` and the absolute path of a folder."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit


def problem(url: str) -> str | None:
    """Say what is wrong with an address, without repeating it; None when nothing is.

    >>> problem("file:///media/stick/dbsync"), problem("file:///media/my%20stick/dbsync")
    (None, None)
    >>> problem("file://media/stick")
    'three slashes: file:///media/stick/dbsync, the whole path of a folder on the stick'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    whole = "three slashes: file:///media/stick/dbsync, the whole path of a folder on the stick"
    if parts is None or parts.netloc or not parts.path.startswith("/"):
        return whole
    if parts.query or parts.fragment:
        return "a path with ? or # in it is written with %3F or %23"
    path = unquote(parts.path)
    if "\0" in path or ".." in path.split("/"):
        return "not the path of a folder"
    return None if path.strip("/") else whole


def path_of(url: str, *, windows: bool = os.name == "nt") -> str:
    """Give the path of an address without a problem.

    >>> path_of("file:///media/my%20stick/dbsync/")
    '/media/my stick/dbsync'
    >>> path_of("file:///E:/dbsync", windows=True)
    'E:/dbsync'
    """
    path = unquote(urlsplit(url).path).rstrip("/")
    return path.removeprefix("/") if windows else path
