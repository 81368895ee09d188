"""How Sphinx makes the manual of docs/: ``make docs`` writes it to build/docs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "dbsync"
author = "the authors of dbsync"
project_copyright = author

extensions = ["myst_parser", "checkout"]
exclude_patterns = ["_ext"]
nitpicky = True
"""A reference that leads nowhere is a warning, and a warning is an error."""

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
"""Headings have the anchors that web sites of repositories give them: the same links work in both."""

html_theme = "furo"
html_title = "dbsync"
html_copy_source = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_theme_options: dict[str, list[str]] = {"footer_icons": []}
