"""Whatever a client sends, it is answered in lines of the protocol, and nothing of lvsd's fails."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from lvsd.config.plugins import make_scheduler
from lvsd.control.peers import Peer
from lvsd.control.protocol import Code
from lvsd.core.balancer import Balancer
from lvsd.core.wanted import Wanted
from lvsd.supervisor.desk import Desk, methods
from lvsd.supervisor.door import Door
from tests.property.examples import examples
from tests.unit.control.conftest import answering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.core.commands import Change, Command

ROOT: Final = Peer(1, 0, frozenset({0}))
METHODS: Final = ["change", "list", "connections", "timeouts", "zero", "status", "subscribe"]
WEB: Final = {"protocol": "tcp", "address": "192.0.2.10", "port": 80}
SERVER: Final = {"address": "10.0.0.11", "port": 80, "forward": "tun", "tunnel": "gre"}
GOOD: Final[list[dict[str, Any]]] = [
    {"command": "add_service", "service": WEB | {"flags": [], "local_ports": [1025, 2000]}},
    {"command": "edit_service", "service": WEB | {"prefix": 24, "persistence_s": 5}},
    {"command": "add_server", "service": WEB, "server": SERVER},
    {"command": "drain", "service": WEB, "server": {"address": "10.0.0.11", "port": 80}},
    {"command": "set_timeouts", "tcp_s": 5},
    {"command": "remove_service", "service": {"fwmark": 7, "family": 6}},
]
ANY_TEXT: Final = st.text(st.characters(), max_size=20)
"""Lone surrogates and NULs are in it, too."""

ANY_JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from(["192.0.2.1", "::1", "fe80::1%eth0", "rr", "tcp", 80, 1 << 32, -1, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
DEEP: Final = b'{"method": "change", "params": {"commands": [{"command": %b}]}}'


@st.composite
def mutated(draw: st.DrawFn) -> object:
    """Return good parameters with something else at one place."""
    params: Any = {"commands": json.loads(json.dumps(draw(st.lists(st.sampled_from(GOOD)))))}
    at = params
    while True:
        places = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not places:
            return params
        place = draw(st.sampled_from(places))
        if not (isinstance(at[place], list | dict) and draw(st.booleans())):
            at[place] = draw(ANY_JSON)
            return params
        at = at[place]


def requests(params: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    """Return lines that ask for something with parameters."""
    names = st.sampled_from(METHODS) | ANY_TEXT
    return st.builds(lambda name, given: _line({"method": name, "params": given}), names, params)


def _line(value: object) -> bytes:
    return json.dumps(value).encode()


def ask(line: bytes) -> list[dict[str, Any]]:
    """Return what a line is answered with; of events the first one."""
    wanted = Wanted((900, 120, 300))
    balancer = Balancer(make_scheduler, now=1000.0)
    engine = answering(balancer)

    async def prepare(_: Sequence[Change]) -> list[Command]:
        return []

    async def apply(commands: Sequence[Command], *, until_met: bool = False) -> None:  # noqa: ARG001
        balancer.apply(commands, balancer.now)
        wanted.do(commands)

    async def around() -> list[bytes]:
        door = Door(wanted, prepare, apply)
        lines = []
        desk = Desk(lambda line: engine(line, ROOT), methods(door))
        async with aclosing(desk.ask(line + b"\n", ROOT)) as answers:
            async for each in answers:
                lines.append(each)
                if b'"change":"listening"' in each:
                    break
        assert door._listeners == set()
        return lines

    found = [_read(each) for each in asyncio.run(around())]
    assert len(list(balancer.services)) == len(wanted.services)
    return found


def _read(line: bytes) -> dict[str, Any]:
    assert line.count(b"\n") == line.endswith(b"\n") == 1
    answer: dict[str, Any] = json.loads(line, parse_constant=_refuse_constant)
    assert ("result" in answer) != ("error" in answer)
    if "error" in answer:
        assert answer["error"]["code"] in {*Code} - {Code.INTERNAL}
        assert answer["error"]["message"]
    return answer


def _refuse_constant(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
@examples(200)
@example(b"")
@example(b'{"method": "timeouts", "params": {}} {}')
@example(b'\xef\xbb\xbf{"method": "timeouts"}')
@example(b"[" * 60_000)
@example(b"9" * 5000)
def test_any_line_is_answered(line: bytes) -> None:
    (answer,) = ask(line)
    assert answer["error"]["code"] == "bad_request"


@given(requests(ANY_JSON))
@examples(200)
@example(b'{"method": "change", "params": {"commands": []}}')
@example(b'{"method": "subscribe", "params": {}}')
def test_any_parameters_are_answered(line: bytes) -> None:
    assert ask(line)


@given(requests(mutated()))
@examples(400)
def test_what_is_wrong_somewhere_is_answered(line: bytes) -> None:
    assert ask(line)


@given(st.integers(800, 1000), st.sampled_from([b"[", b'{"a":']))
@examples(60)
@example(990, b"[")
def test_what_is_nested_too_deeply_is_answered(depth: int, opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for line in (
        DEEP % (opening * depth + b"1" + closing * depth),
        b'{"method": "list", "params": {"service": %b}}'
        % (opening * depth + b"1" + closing * depth),
    ):
        (answer,) = ask(line)
        assert answer["error"]["code"] in {"bad_request", "bad_params"}
