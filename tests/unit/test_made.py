"""What the pages show of lvsd's output is what it puts out."""

from __future__ import annotations

import pytest

from docs.made import output, page, stale


def test_pictures_and_tables_are_what_lvsd_makes_now() -> None:
    assert stale() == []  # else: make pictures


def test_a_block_is_made_by_the_command_above_it() -> None:
    text = "a\n<!-- made: lvsd explain --picks 1 --markdown -->\nold\n<!-- end -->\nb\n"
    assert page(text) == (
        "a\n<!-- made: lvsd explain --picks 1 --markdown -->\n\n"
        "| pick | A | B | C | picked |\n|---|---|---|---|---|\n| 1 | 0 | 0 | 0 | C |\n\n"
        "<!-- end -->\nb\n"
    )
    assert page(page(text)) == page(text)


def test_a_command_that_fails_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="exit status 64"):
        output("explain --mode best")
    assert "mode 'best' is not known" in capsys.readouterr().err
