"""The page of schedulers' figures: its tables go between its markers, its pictures beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench import scheduler_page

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_measured_is_put_into_the_page_and_the_rest_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="`make venv` installs it")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n<!-- bench:quality -->\nold\n<!-- end -->\nMore\n<!-- bench:speed -->\nkept\n"
        "<!-- end -->\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(scheduler_page, "PAGE", page)
    monkeypatch.setattr(scheduler_page, "PICTURES", tmp_path)
    scheduler_page.main(
        ["--scheduler", "wlc", "--servers", "4", "--duration", "20", "--measure", "quality"]
    )
    said = page.read_text(encoding="utf-8")
    assert said.startswith(
        "# Page\n<!-- bench:quality -->\n`python -m bench scheduler-page --sched"
    )
    assert "\n| wlc | " in said
    assert "old" not in said
    assert "More\n<!-- bench:speed -->\nkept\n<!-- end -->\n" in said
    for name in ("imbalance", "fairness"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
