"""The documentation as a site: ``make docs`` writes it to build/docs.

The pages stay plain Markdown that a code host shows as well, so there is one extension only.
Nothing is fetched when the site is read: the theme brings its own styles and scripts.
"""

# ruff: noqa: INP001 - Sphinx reads this file; nobody imports it
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "lvsd"
author = "The lvsd authors"
project_copyright = "The lvsd authors, Apache-2.0"

extensions = ["myst_parser"]
myst_heading_anchors = 4
"""Headings down to this level have the anchors that code hosts give them."""

highlight_language = "none"
"""An indented block is what a terminal shows, and no program."""

html_theme = "furo"
html_title = "lvsd"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["lvsd.css"]


def setup(app: Sphinx) -> None:
    """Let Sphinx call what makes pictures links."""
    app.connect("doctree-read", _link_pictures)


def _link_pictures(_: Sphinx, page: Any) -> None:
    """Make every picture a link to itself in full size, as Sphinx does of those with a width."""
    for picture in page.findall(lambda node: node.tagname == "image"):
        picture["width"] = "100%"
