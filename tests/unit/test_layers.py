"""Imports go one way: docs/architecture.md's layers, checked in every file's syntax tree.

A layer may import what its line in `LAYERS` names, and what lies below those names. An import
inside a function or under TYPE_CHECKING counts like any other, and so does importlib with a
constant name. After a plain ``import lvsd``, each ``lvsd.name`` counts as an import of that name.
What `LAZY` names may be imported inside a function only.

Within a layer no modules import each other, be it for the type checker only.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from lvsd.cli import MODULES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

ROOT = Path(__file__).parents[2]
PACKAGES = ("schedulers", "forwarders", "lvsd")

PURE = ("schedulers", "forwarders")
OF_ALL = ("lvsd.errors", "lvsd.printable", "lvsd.__version__")

LAYERS: dict[str, tuple[str, ...]] = {
    "schedulers": (),
    "forwarders": (),
    "lvsd.errors": (),
    "lvsd.garbage": (),
    "lvsd.printable": (),
    "lvsd.__init__": (),
    "lvsd.arguments": OF_ALL,
    "lvsd.journald": (),
    "lvsd.keys": (),
    "lvsd.notify": (),
    "lvsd.signals": (),
    "lvsd.tables": (),
    "lvsd.terminal": (),
    "lvsd.turns": (),
    "lvsd.log": ("lvsd.journald", *OF_ALL),
    "lvsd.running": OF_ALL,
    "lvsd.packet": ("forwarders.plan", *OF_ALL),
    "lvsd.core": (
        "forwarders.base",
        "forwarders.local",
        "forwarders.plan",
        "lvsd.packet",
        "schedulers.base",
        *OF_ALL,
    ),
    "lvsd.config": (
        "forwarders",
        "lvsd.garbage",
        "lvsd.health.base",
        "lvsd.health.registry",
        "lvsd.packet.address",
        "schedulers",
        *OF_ALL,
    ),
    "lvsd.health": ("lvsd.core", "lvsd.packet", *OF_ALL),
    "lvsd.net": ("lvsd.packet.address", *OF_ALL),
    "lvsd.io": ("forwarders.base", "lvsd.core", "lvsd.net", "lvsd.packet", *OF_ALL),
    "lvsd.control": (
        "forwarders",
        "lvsd.core",
        "lvsd.garbage",
        "lvsd.keys",
        "lvsd.packet.address",
        "lvsd.turns",
        "schedulers",
        *OF_ALL,
    ),
    "lvsd.engine": (
        "forwarders",
        "lvsd.control",
        "lvsd.core",
        "lvsd.io",
        "lvsd.log",
        "lvsd.packet",
        "lvsd.running",
        "lvsd.turns",
        *OF_ALL,
    ),
    "lvsd.assembly": (
        "forwarders",
        "lvsd.config",
        "lvsd.core",
        "lvsd.engine",
        "lvsd.keys",
        *OF_ALL,
    ),
    "lvsd.documents": (
        "lvsd.assembly",
        "lvsd.config",
        "lvsd.core",
        "lvsd.keys",
        "lvsd.packet.address",
        *OF_ALL,
    ),
    "lvsd.changing": (
        "lvsd.arguments",
        "lvsd.assembly",
        "lvsd.config",
        "lvsd.control",
        "lvsd.documents",
        *OF_ALL,
    ),
    "lvsd.supervisor": (
        "forwarders",
        "lvsd.arguments",
        "lvsd.assembly",
        "lvsd.config",
        "lvsd.control",
        "lvsd.core",
        "lvsd.documents",
        "lvsd.engine",
        "lvsd.garbage",
        "lvsd.health",
        "lvsd.io",
        "lvsd.log",
        "lvsd.net",
        "lvsd.notify",
        "lvsd.packet.address",
        "lvsd.running",
        "lvsd.signals",
        *OF_ALL,
    ),
    "lvsd.preparing": ("lvsd.arguments", "lvsd.config", "lvsd.signals", *OF_ALL),
    "lvsd.daemon": (
        "lvsd.assembly",
        "lvsd.config",
        "lvsd.control",
        "lvsd.core",
        "lvsd.engine",
        "lvsd.io",
        "lvsd.log",
        "lvsd.signals",
        "lvsd.supervisor",
        *OF_ALL,
    ),
    "lvsd.check": ("lvsd.config", "lvsd.io", "lvsd.net", *OF_ALL),
    "lvsd.doctor": (
        "forwarders",
        "lvsd.arguments",
        "lvsd.config",
        "lvsd.control",
        "lvsd.io",
        "lvsd.net",
        "lvsd.packet",
        *OF_ALL,
    ),
    "lvsd.realserver": (
        "lvsd.arguments",
        "lvsd.io",
        "lvsd.net",
        "lvsd.notify",
        "lvsd.packet",
        "lvsd.signals",
        *OF_ALL,
    ),
    "lvsd.explain": (
        "forwarders",
        "lvsd.arguments",
        "lvsd.assembly",
        "lvsd.config",
        "lvsd.core",
        "lvsd.io.diverting",
        "lvsd.io.ruleset",
        "lvsd.packet",
        "lvsd.tables",
        "lvsd.terminal",
        "schedulers",
        *OF_ALL,
    ),
    "lvsd.bench": ("lvsd.arguments", "lvsd.tables", "lvsd.terminal", "schedulers", *OF_ALL),
    "lvsd.lab": (
        "forwarders",
        "lvsd.arguments",
        "lvsd.bench.estimate",
        "lvsd.control",
        "lvsd.core",
        "lvsd.explain",
        "lvsd.net",
        "lvsd.packet",
        "lvsd.signals",
        "lvsd.tables",
        "lvsd.terminal",
        "schedulers",
        *OF_ALL,
    ),
    "lvsd.cli": (
        "lvsd.arguments",
        "lvsd.config",
        "lvsd.entry",
        "lvsd.garbage",
        "lvsd.journald",
        "lvsd.log",
        "lvsd.signals",
        *OF_ALL,
    ),
    "lvsd.entry": ("lvsd.cli", "lvsd.control", "lvsd.signals"),
    "lvsd.__main__": ("lvsd.entry",),
}
"""What each layer may import of ours; itself always."""

LAZY: dict[str, tuple[str, ...]] = {
    "lvsd.cli": (
        "lvsd.bench",
        "lvsd.changing",
        "lvsd.check",
        "lvsd.daemon",
        "lvsd.doctor",
        "lvsd.explain",
        "lvsd.lab",
        "lvsd.preparing",
        "lvsd.realserver",
    ),
    "lvsd.control": ("lvsd.config",),
    "lvsd.preparing": ("lvsd.daemon", "lvsd.log"),
    "lvsd.changing": ("lvsd.daemon", "lvsd.preparing"),
}
"""What a layer may import inside a function only."""

WORLD = frozenset(
    {
        "asyncio",
        "datetime",
        "netfilterqueue",
        "random",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "structlog",
        "subprocess",
        "threading",
        "time",
        "uvloop",
    }
)
"""I/O, clocks and randomness: none of it in the layers of `SANS_IO`."""

SANS_IO = (*PURE, "lvsd.packet", "lvsd.core")


class Import(NamedTuple):
    """One name that a module imports: where, what, and whether inside a function."""

    line: int
    target: str
    lazy: bool


@cache
def imports(source: str, module: str, *, is_package: bool = False) -> tuple[Import, ...]:
    """Return everything that a module's source imports, relative names made absolute."""
    found: list[Import] = []

    def visit(node: ast.AST, *, lazy: bool) -> None:
        match node:
            case ast.Import(names=names):
                found.extend(
                    Import(node.lineno, name.name, lazy)
                    for name in names
                    if name.name != "lvsd" or name.asname
                )
            case ast.Attribute(value=ast.Name(id="lvsd"), attr=name):
                found.append(Import(node.lineno, f"lvsd.{name}", lazy))
            case ast.ImportFrom(module=source_module, names=names, level=level):
                base = _absolute(module, source_module or "", level, is_package=is_package)
                found.extend(Import(node.lineno, f"{base}.{name.name}", lazy) for name in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.append(Import(node.lineno, name, lazy))
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, lazy=inside)

    visit(ast.parse(source), lazy=False)
    return tuple(found)


def _absolute(module: str, name: str, level: int, *, is_package: bool) -> str:
    if not level:
        return name
    parents = module.split(".")
    kept = parents[: len(parents) - level + is_package]
    return ".".join([*kept, name] if name else kept)


def layer_of(module: str) -> str | None:
    """Return the layer that a module belongs to, or None when it is in none."""
    name = "lvsd.__init__" if module == "lvsd" else module
    return next((layer for layer in LAYERS if _within(name, (layer,))), None)


def _within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def wrong_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return what a module must not import, with the line, and its lack of a layer."""
    layer = layer_of(module)
    if layer is None:
        return [f"{module}: belongs to no layer; name its layer in this test"]
    wrong = []
    for line, target, lazy in imports(source, module, is_package=is_package):
        allowed = (layer, *LAYERS[layer], *(LAZY.get(layer, ()) if lazy else ()))
        ours = target.partition(".")[0] in PACKAGES
        if ours and not _within(target, allowed):
            wrong.append(f"{module}:{line}: {layer} must not import {target}")
        if layer in SANS_IO and _within(target, tuple(WORLD)):
            wrong.append(f"{module}:{line}: {layer} knows no {target.partition('.')[0]}")
    return wrong


MOST_LINES = 400
"""Of a module: what is longer has two reasons to change."""


def modules() -> list[tuple[str, Path]]:
    """Return all our modules, by name."""
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [
        (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in files
    ]


def test_no_module_is_long() -> None:
    files = [path for _, path in modules()]
    for folder in ("bench", "docs"):
        files += sorted((ROOT / folder).rglob("*.py"))
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in files}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the modules that import each other, directly or by others, circle by circle."""
    left = {name: set(targets) for name, targets in graph.items()}
    while True:
        leaves = {name for name, targets in left.items() if not targets & left.keys()}
        if not leaves:
            break
        left = {name: targets for name, targets in left.items() if name not in leaves}
    found: dict[tuple[str, ...], None] = {}
    for name in sorted(left):
        together = _reached(left, name) & {other for other in left if name in _reached(left, other)}
        if together:
            found[tuple(sorted(together))] = None
    return [list(each) for each in found]


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Return all that is reached from a name by one step or more."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = (graph[waiting.pop()] & graph.keys()) - reached
        reached |= new
        waiting += new
    return reached


def imported_modules(found: Iterable[Import], names: Container[str]) -> set[str]:
    """Return which modules of ``names`` are imported; of a module's name, the module is."""
    ours: set[str] = set()
    for _, target, lazy in found:
        module = target if target in names else target.rpartition(".")[0]
        if module in names and not lazy:
            ours.add(module)
    return ours


def test_no_modules_import_each_other() -> None:
    files = dict(modules())
    graph = {
        name: imported_modules(
            imports(path.read_text(), name, is_package=path.name == "__init__.py"), files
        )
        - {name}
        for name, path in files.items()
    }
    assert circles(graph) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a", "c"}, "c": set()}, [["a", "b"]]),
        (
            {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": {"e"}, "e": {"d"}},
            [["b", "c"], ["d", "e"]],
        ),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, [["a", "b", "c"]]),
    ],
)
def test_the_check_finds_circles(graph: dict[str, set[str]], found: list[list[str]]) -> None:
    assert circles(graph) == found


def test_imports_for_the_type_checker_count_and_those_of_a_function_do_not() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from a.b import c\n"
        "def f():\n    from a import d\n"
    )
    assert imported_modules(imports(source, "x"), {"a.b", "a.d"}) == {"a.b"}


def test_imports_go_one_way() -> None:
    wrong = [
        problem
        for module, path in modules()
        for problem in wrong_imports(
            path.read_text(), module, is_package=path.name == "__init__.py"
        )
    ]
    assert wrong == []


def documented_layers() -> dict[str, set[str]]:
    """Return what each layer may import by the table "Layout" of docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    found: dict[str, set[str]] = {}
    for line in page.partition("\n## Layout\n")[2].partition("\n## ")[0].splitlines():
        cells = line.strip("|").split(" | ") if line.startswith("| `") else []
        for name in re.findall(r"`([^`]+)`", cells[0]) if cells else ():
            layer = name.removesuffix("/").removesuffix(".py").replace("/", ".")
            if layer.partition(".")[0] in PACKAGES:
                words = re.findall(r"`([^`]+)`", cells[-1])
                found[layer] = {
                    word if word.partition(".")[0] in PURE else f"lvsd.{word}" for word in words
                }
    return found


def test_the_page_says_of_each_layer_what_it_may_import() -> None:
    expected = {
        layer: set(allowed) - set(OF_ALL)
        for layer, allowed in LAYERS.items()
        if layer != "lvsd.__init__"
    }
    assert documented_layers() == expected


def test_only_the_network_layer_knows_pyroute2() -> None:
    knowing = {
        layer_of(module)
        for module, path in modules()
        if "pyroute2" in path.read_text()
        for each in imports(path.read_text(), module)
        if _within(each.target, ("pyroute2",))
    }
    assert knowing == {"lvsd.net"}


def test_the_commands_that_are_loaded_by_name_are_lazy_ones() -> None:
    assert [name for name in MODULES.values() if not _within(name, LAZY["lvsd.cli"])] == []


def test_the_check_sees_every_module() -> None:
    names = [name for name, _ in modules()]
    expected = ["schedulers.base", "forwarders.nat", "lvsd", "lvsd.errors", "lvsd.core.director"]
    assert [name for name in expected if name not in names] == []


@pytest.mark.parametrize(
    ("module", "source", "blamed"),
    [
        ("schedulers.rr", "from lvsd.errors import PluginError", "lvsd.errors.PluginError"),
        ("schedulers.rr", "from forwarders.plan import Plan", "forwarders.plan.Plan"),
        ("schedulers.rr", "import random", "random"),
        ("forwarders.nat", "import lvsd.packet.view", "lvsd.packet.view"),
        ("lvsd.packet.view", "from forwarders.nat import Nat", "forwarders.nat.Nat"),
        ("lvsd.packet.view", "from socket import AF_INET", "socket"),
        ("lvsd.core.director", "from schedulers import load", "schedulers.load"),
        ("lvsd.core.director", "from lvsd.io.divert import up", "lvsd.io.divert.up"),
        ("lvsd.core.director", "from lvsd import io", "lvsd.io"),
        ("lvsd.core.director", "from .. import io", "lvsd.io"),
        ("lvsd.core.director", "import lvsd as ours", "lvsd"),
        ("lvsd.core.director", "import lvsd\nlvsd.io.divert.up()", "lvsd.io"),
        ("lvsd.core.director", "from ..io import divert", "lvsd.io.divert"),
        ("lvsd.core.director", "import asyncio.events", "asyncio"),
        ("lvsd.core.director", "def f():\n    import time", "time"),
        ("lvsd.core.director", "async def f():\n    from lvsd import io", "lvsd.io"),
        (
            "lvsd.core.director",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lvsd.io import divert",
            "lvsd.io.divert",
        ),
        ("lvsd.core.director", "try:\n    import socket\nexcept ImportError: pass", "socket"),
        ("lvsd.core.director", "import importlib\nimportlib.import_module('lvsd.io')", "lvsd.io"),
        ("lvsd.core.director", "__import__('lvsd.io')", "lvsd.io"),
        ("lvsd.io.divert", "from lvsd.control import server", "lvsd.control.server"),
        ("lvsd.control.server", "from lvsd.io import divert", "lvsd.io.divert"),
        ("lvsd.net.links", "from lvsd.io import sysctls", "lvsd.io.sysctls"),
        ("lvsd.io.divert", "from lvsd.daemon import run", "lvsd.daemon.run"),
        ("lvsd.daemon", "from lvsd.lab import build", "lvsd.lab.build"),
        ("lvsd.daemon", "def f():\n    from lvsd.lab import build", "lvsd.lab.build"),
        ("lvsd.lab.build", "from lvsd.daemon import run", "lvsd.daemon.run"),
        ("lvsd.cli", "from lvsd.daemon import run", "lvsd.daemon.run"),
        ("lvsd.errors", "from lvsd.packet.address import text", "lvsd.packet.address.text"),
    ],
)
def test_a_wrong_import_is_found_wherever_it_hides(module: str, source: str, blamed: str) -> None:
    (problem,) = wrong_imports(source, module)
    assert problem.startswith(f"{module}:")
    assert problem.endswith(f" {blamed}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("schedulers.rr", "from schedulers.base import Scheduler\nimport math"),
        ("lvsd.packet.rewrite", "from forwarders.plan import Plan\nfrom .view import View"),
        ("lvsd.core.director", "from lvsd.packet import view\nfrom lvsd.errors import LvsdError"),
        ("lvsd.io.divert", "import socket\nfrom lvsd.core.verdict import Verdict"),
        ("lvsd.control.lvsadm", "import lvsd\nprint(lvsd.__version__)"),
        ("lvsd.cli", "def f():\n    from lvsd.daemon import run"),
        ("lvsd.supervisor.supervisor", "from lvsd import __version__, notify"),
    ],
)
def test_a_right_import_is_left_alone(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_a_module_of_no_layer_is_found() -> None:
    assert wrong_imports("", "lvsd.coreless") == [
        "lvsd.coreless: belongs to no layer; name its layer in this test"
    ]


def test_a_packages_own_relative_import_starts_at_the_package() -> None:
    found = imports("from .view import View\nfrom ..io import divert", "lvsd.core", is_package=True)
    assert [target for _, target, _ in found] == ["lvsd.core.view.View", "lvsd.io.divert"]
