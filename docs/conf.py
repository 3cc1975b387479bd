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
    """Let Sphinx call what is below."""
    app.connect("env-get-outdated", _all_pages)
    app.connect("doctree-read", _link_pictures)
    app.connect("html-page-context", _make_room, priority=900)  # after the theme's own


def _all_pages(_: Sphinx, env: Any, *_changes: Any) -> list[str]:
    """Read every page anew: each shows the list of all, and any may link to a heading that went."""
    return sorted(env.found_docs)


def _link_pictures(app: Sphinx, page: Any) -> None:
    """Make every picture a link to itself in full size, as Sphinx does of those with a width."""
    for picture in page.findall(lambda node: node.tagname == "image"):
        picture["width"] = "100%"
        if _is_mode(app.env.docname):
            picture["classes"].append("wide")


def _make_room(_: Sphinx, name: str, _template: str, context: dict[str, Any], *_rest: Any) -> None:
    """Leave out a mode's page's own contents, beside which its picture could not be read."""
    if _is_mode(name):
        context["furo_hide_toc"] = True


def _is_mode(name: str) -> bool:
    return name.startswith("modes/") and name != "modes/index"
