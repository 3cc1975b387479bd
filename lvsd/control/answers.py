"""Answer a client's request, in lines as the control protocol has them.

Whoever has the packets answers, and packets come first: all answers together get a slice of the
event loop at a time (`lvsd.turns`), and a list is a line for each slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING

import orjson
import structlog

from lvsd.control.methods import RequestError, call
from lvsd.control.protocol import Code, encode_error, encode_line
from lvsd.errors import BusyError, ControlError, KernelError, PluginError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from lvsd.control.methods import Context
    from lvsd.turns import Turns

_log = structlog.get_logger(__name__)


async def answers(context: Context, line: bytes, turns: Turns) -> AsyncGenerator[bytes]:
    """Yield the lines that answer one; more than one for a list. Never raises for a bad request."""
    try:
        answer = b""
        async with turns.slice():
            result = call(context, line)
            if not isinstance(result, Iterator):
                answer = encode_line({"result": result})
        if not isinstance(result, Iterator):
            yield answer
            return
        async for part in _list(result, turns):
            yield part
    except Exception as error:  # noqa: BLE001 - the daemon balances on, whatever is wrong here
        yield refusal(error, line)


def refusal(error: Exception, line: bytes) -> bytes:
    """Return the line that answers a request which failed; log what is a fault of lvsd's own."""
    match error:
        case RequestError():
            return encode_error(error.code, str(error))
        case BusyError():
            return encode_error(Code.BUSY, str(error))
        case ControlError() | PluginError() | KernelError():
            return encode_error(Code.REFUSED, str(error))
    _log.error("control request failed", request=line[:200], exc_info=error)
    return encode_error(Code.INTERNAL, "internal error; see lvsd's log")


async def _list(items: Iterator[object], turns: Turns) -> AsyncGenerator[bytes]:
    """Yield a list as lines of one slice each, the last without ``more``."""
    more = True
    while more:
        encoded: list[bytes] = []
        more = False
        async with turns.slice() as deadline:
            for item in items:
                encoded.append(orjson.dumps(item))
                if perf_counter() >= deadline:
                    more = True
                    break
            line = b",".join(encoded)
        yield b'{"result":[%b]%b}\n' % (line, b',"more":true' if more else b"")
