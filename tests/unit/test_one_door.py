"""Services, real servers and timeouts change by `Balancer.apply` and in no other way.

`lvsd.core.apply`, with its parts `lvsd.core.whole` and `lvsd.core.duties`, uses what `INNER` names,
and makes what `MADE` names. Nobody else does: not the daemon, not the benchmarks, and not the
tests, but for those in `EXEMPT`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from lvsd.core.service import RealServer, Service
from lvsd.core.service_table import ServiceTable
from lvsd.core.timeouts import Timeouts
from tests.unit.test_layers import ROOT, imports

if TYPE_CHECKING:
    from collections.abc import Iterator

DOOR = ("lvsd/core/apply.py", "lvsd/core/duties.py", "lvsd/core/whole.py")

INNER: dict[type, tuple[str, ...]] = {
    RealServer: ("resettle", "retime", "set_health", "settle"),
    Service: (
        "delist",
        "dismiss",
        "dissolving",
        "enlist",
        "reinstate",
        "relist",
        "retiming",
    ),
    ServiceTable: ("put_back", "put_in", "take_out", "withdraw"),
    Timeouts: ("set_seconds",),
}
"""The methods that change what there is and what is wanted of it, by class."""

INNER_NAMES = {name for names in INNER.values() for name in names}

OF_THE_CORE = ("lvsd/core/service.py", "lvsd/core/path.py", *DOOR)
"""Where the objects tell their own parts, as `Service.retiming` its servers."""

MADE = {"lvsd.core.service.Service", "lvsd.core.service.RealServer"}

EXEMPT = {
    "tests/unit/core/test_broken_plugins.py": {"makes a RealServer"},
    "lvsd/control/top_view.py": {"has dismiss"},
    "tests/unit/supervisor/test_conversation.py": {"has settle"},
}
"""A scheduler picks a server that nobody has added; what closes a question on a screen; and the
wait until an engine has all that it was told."""


def by_another_door(source: str, module: str) -> Iterator[str]:
    """Yield what a module's source does that only the door may do, with the line."""
    made = {target.rpartition(".")[2] for _, target, _ in imports(source, module) if target in MADE}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name) if name in INNER_NAMES:
                yield f"{module}:{node.lineno}: has {name}"
            case ast.Call(func=ast.Name(id=name)) if name in made:
                yield f"{module}:{node.lineno}: makes a {name}"


def _files() -> list[str]:
    folders = ("lvsd", "bench", "tests", "schedulers", "forwarders")
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


def test_nobody_changes_a_service_or_a_server_by_another_door() -> None:
    wrong = []
    for path in _files():
        if path in OF_THE_CORE:
            continue
        source = (ROOT / path).read_text()
        if not any(name in source for name in (*INNER_NAMES, "core.service import")):
            continue  # most; to parse them takes seconds
        exempt = EXEMPT.get(path, set())
        found = by_another_door(source, path)
        wrong += [each for each in found if each.partition(": ")[2] not in exempt]
    assert wrong == []


def test_the_door_itself_does_all_of_it() -> None:
    sources = {each: (ROOT / each).read_text() for each in DOOR}
    told = (line for path, text in sources.items() for line in by_another_door(text, path))
    found = {each.rpartition(" ")[2] for each in told}
    assert found == INNER_NAMES | {"Service", "RealServer"}


def test_the_methods_that_are_looked_for_are_there() -> None:
    missing = [name for kind, names in INNER.items() for name in names if not hasattr(kind, name)]
    assert missing == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("balancer.services.put_in(service)", "has put_in"),
        ("def f(server):\n    server.settle(config)", "has settle"),
        ("from lvsd.core.service import Service\nx = Service(config, rr)", "makes a Service"),
        ("def f():\n    self.flows.timeouts.set_seconds(1, 2, 3)", "has set_seconds"),
    ],
)
def test_another_door_is_found_wherever_it_is(source: str, found: str) -> None:
    (wrong,) = by_another_door(source, "somewhere")
    assert wrong.endswith(f": {found}")


def test_a_service_of_somebody_elses_is_no_concern() -> None:
    assert list(by_another_door("from lvsd.lab.settings import Service\nService(1)", "x")) == []
