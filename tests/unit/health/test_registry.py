"""Checks by name: those that come with lvsd, and third parties' by entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.health import registry
from lvsd.health.base import Check, Kind
from lvsd.health.registry import BUILT_IN, BrokenCheckError, UnknownCheckError, load, names

if TYPE_CHECKING:
    from types import ModuleType

TREE = Path(__file__).parents[3]

PLUGIN = """
from lvsd.health.base import Check

class Ldap(Check):
    name = "ldap"

    async def probe(self, target):
        return "bound"

class Unfinished(Check):
    name = "unfinished"

NUMBER = 4
"""

POINTS = """[lvsd.checks]
ldap = lvs_ldap:Ldap
tcp = lvs_ldap:Ldap
other = lvs_ldap:Ldap
unfinished = lvs_ldap:Unfinished
number = lvs_ldap:NUMBER
absent = lvs_absent:Absent
quitter = lvs_quitter:Quitter
"""


def install(site: Path, name: str, points: str) -> None:
    """Put a distribution with these entry points into a folder."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on the import path with a package of checks."""
    (tmp_path / "lvs_ldap.py").write_text(PLUGIN)
    (tmp_path / "lvs_quitter.py").write_text("raise SystemExit(9)\n")
    install(tmp_path, "lvs-ldap", POINTS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in ("lvs_ldap", "lvs_quitter"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_each_check_of_lvsd_is_one(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert issubclass(found, Check)
    words = [option.word for option in found.options]
    assert len(words) == len(set(words))
    for option in found.options:
        assert option.allowed or option.kind not in {Kind.CHOICE, Kind.NUMBER}


def test_a_check_is_loaded_when_it_is_asked_for() -> None:
    script = "import sys; from lvsd.health.registry import load; load('tcp'); print(*sys.modules)"
    asked = subprocess.run(
        [sys.executable, "-c", script], cwd=TREE, check=True, capture_output=True, text=True
    )
    assert not {"dns", "h2", "httptools"} & set(asked.stdout.split())


@pytest.mark.usefixtures("site")
def test_a_plugin_is_loaded_by_name_and_listed_after_lvsd_s_own() -> None:
    assert load("ldap").name == "ldap"
    others = ["absent", "ldap", "number", "other", "quitter", "unfinished"]
    assert names() == [*BUILT_IN, *others]


@pytest.mark.usefixtures("site")
def test_a_plugin_cannot_take_the_name_of_a_check_of_lvsd() -> None:
    assert load("tcp").__module__ == "lvsd.health.checks.tcp"


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("other", "lvs_ldap:Ldap calls itself 'ldap'"),
        ("unfinished", "lvs_ldap:Unfinished does not define probe"),
        ("number", "lvs_ldap:NUMBER is no subclass of Check"),
    ],
)
def test_a_plugin_that_is_not_what_it_should_be_is_told(name: str, why: str) -> None:
    with pytest.raises(BrokenCheckError) as raised:
        load(name)
    assert str(raised.value) == f"check '{name}' of lvs-ldap 1.0: {why}"


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent", "ModuleNotFoundError: No module named 'lvs_absent'"),
        ("quitter", "SystemExit: 9"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told(name: str, why: str) -> None:
    with pytest.raises(BrokenCheckError) as raised:
        load(name)
    assert str(raised.value) == f"check '{name}' of lvs-ldap 1.0 cannot be imported: {why}"


def test_a_name_of_several_packages_is_told(site: Path) -> None:
    install(site, "lvs-other", "[lvsd.checks]\nldap = lvs_other:Ldap\n")
    with pytest.raises(BrokenCheckError) as raised:
        load("ldap")
    assert str(raised.value) == (
        "check 'ldap' comes from several packages: lvs-ldap 1.0, lvs-other 1.0"
    )


def test_a_name_that_nobody_has_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownCheckError, match=r"^no check 'htp'; there are: tcp, http, https, "):
        load("htp")


def test_a_library_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'h2'")

    registry._built_in.cache_clear()
    monkeypatch.setattr(registry, "import_module", missing)
    with pytest.raises(BrokenCheckError) as raised:
        load("grpc")
    assert str(raised.value) == (
        "check 'grpc' needs a library that is missing: No module named 'h2'"
    )
