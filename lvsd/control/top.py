"""``lvsadm top``: services and real servers on the whole terminal, anew every second.

Exit status: 0 ended by q or Ctrl-C; 1 the daemon cannot be reached, or textual is not installed;
2 the command line is wrong.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from lvsd.control.aio import AsyncControlClient
from lvsd.control.client import ControlClient
from lvsd.control.own_commands import Parser
from lvsd.errors import ControlError, UsageError
from lvsd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lvsd.control.protocol import ServiceEntry

UNREACHABLE: Final = 1

NOT_INSTALLED: Final = (
    "lvsadm top needs textual, which is not installed: in lvsd's checkout, "
    f"{sys.executable} -m pip install --require-hashes --no-build-isolation "
    "-r requirements/top.lock"
)


class Socket:
    """Asks the daemon at a control socket, by a connection for each question.

    So it may be restarted meanwhile, and keeps no place among the daemon's clients.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def services(self) -> list[ServiceEntry]:
        """Return what there is. Raise ControlError."""
        async with AsyncControlClient(self._path) as client:
            return await client.items("list")

    async def change(self, command: dict[str, Any]) -> None:
        """Have a command done. Raise ControlError."""
        async with AsyncControlClient(self._path) as client:
            await client.call("change", commands=[command])


def main(words: Sequence[str]) -> int:
    """Carry out a command line that begins with ``top``; return the status. Raise UsageError."""
    parser = Parser(
        "top",
        "Show services and real servers, anew every second.",
        "0 ended by q; 1 lvsd cannot be reached, or textual is not installed; 2 usage.",
    )
    control: Path = parser.parse_args(words[1:]).control
    try:
        from lvsd.control.top_view import Top  # noqa: PLC0415 - textual is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        sys.stderr.write(f"{NOT_INSTALLED}\n")
        return UNREACHABLE
    try:
        with ControlClient(control) as client:
            client.call("timeouts")  # one line now rather than a screen with nothing on it
    except ControlError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return UNREACHABLE
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("lvsadm top needs a terminal; without one there is lvsadm -L -n --rate")
    asyncio.run(Top(Socket(control)).run_async())
    return 0
