"""Names of labs, and whose lab a leftover is."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import registry
from lvsd.lab.registry import Entry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(registry, "REGISTRY", tmp_path / "registry")
    return tmp_path / "registry"


def leave_behind(place: Path, name: str, directory: Path) -> None:
    """Write what a killed lab leaves: a file that nobody holds a lock on."""
    place.mkdir(exist_ok=True)
    directory.mkdir()
    text = json.dumps({"name": name, "namespaces": [], "directory": str(directory)})
    (place / f"{name}.json").write_text(text, encoding="utf-8")


def test_labs_of_one_process_have_different_names() -> None:
    first, second = registry.register("lvsd"), registry.register("lvsd")
    try:
        assert [first.name, second.name] == [f"lvsd-{os.getpid()}", f"lvsd-{os.getpid()}-2"]
    finally:
        first.release()
        second.release()


def test_a_released_name_leaves_no_file(place: Path) -> None:
    registry.register("lvsd").release()

    assert list(place.iterdir()) == []


def test_a_living_lab_is_no_leftover(tmp_path: Path) -> None:
    living = registry.register("lvsd")
    living.record(Entry(living.name, (), str(tmp_path)))
    try:
        assert registry.remove_leftovers() == []
        assert tmp_path.exists()
    finally:
        living.release()


def test_a_leftover_is_removed_with_its_files(place: Path, tmp_path: Path) -> None:
    leave_behind(place, "lvsd-1", tmp_path / "files")

    assert registry.remove_leftovers() == ["lvsd-1"]
    assert not (tmp_path / "files").exists()
    assert list(place.iterdir()) == []


def test_a_lab_that_was_killed_before_it_made_anything_is_removed(place: Path) -> None:
    place.mkdir()
    (place / "lvsd-1.json").touch()

    assert registry.remove_leftovers() == ["lvsd-1"]
    assert list(place.iterdir()) == []


def test_without_any_lab_ever_there_is_nothing_to_remove() -> None:
    assert registry.remove_leftovers() == []
