"""A request that fails is answered alike, whoever answers it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control.answers import answers, refusal
from lvsd.control.methods import Context, RequestError
from lvsd.control.peers import Peer
from lvsd.control.protocol import Code
from lvsd.errors import ControlError, KernelError, PluginError
from lvsd.supervisor.desk import Desk, Method
from lvsd.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lvsd.core.balancer import Balancer

ROOT = Peer(1, 0, frozenset())


def code(line: bytes) -> str:
    found: str = json.loads(line)["error"]["code"]
    return found


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RequestError(Code.BAD_PARAMS, "x"), "bad_params"),
        (ControlError("No such service"), "refused"),
        (PluginError("it fails"), "refused"),
        (KernelError("add an address", "no", "be root"), "refused"),
        (ValueError("a fault of ours"), "internal"),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, expected: str) -> None:
    assert code(refusal(error, b"{}")) == expected


def failing(error: Exception) -> Desk:
    """Return a desk whose one method raises."""

    async def run(_: dict[str, Any], __: Peer) -> object:
        raise error

    async def engine(_: bytes) -> AsyncGenerator[bytes]:
        yield b"the engine's"

    return Desk(engine, {"fail": Method(run)})


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError("at: wrong"), "bad_params"), (ControlError("no"), "refused")],
)
def test_what_a_method_of_the_desk_raises_is_answered(error: Exception, expected: str) -> None:
    async def asked() -> list[bytes]:
        return [each async for each in failing(error).ask(b'{"method": "fail"}', ROOT)]

    (line,) = asyncio.run(asked())
    assert code(line) == expected


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b'{"params": {}}', b'{"method": 3}'])
def test_the_desk_and_the_engine_refuse_a_bad_line_in_the_same_words(
    balancer: Balancer, line: bytes
) -> None:
    async def both() -> list[list[bytes]]:
        desk = failing(ControlError("no")).ask(line, ROOT)
        engine = answers(Context(balancer, 0.0), line, Turns())
        return [[each async for each in every] for every in (desk, engine)]

    at_the_desk, at_the_engine = asyncio.run(both())
    assert at_the_desk == at_the_engine
    assert code(at_the_desk[0]) == "bad_request"
