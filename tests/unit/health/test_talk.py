"""Connections of checks: what is read, how much of it, and that nothing stays open."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from lvsd.health.base import LONGEST_REASON, Check, Target, UnhealthyError
from lvsd.health.checks.talk import LONGEST_LINE, MOST, Talk, quoted
from tests.unit.health.servers import probed, says

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


class Lines(Check):
    """Reads two lines, then two bytes."""

    name = "lines"

    async def probe(self, target: Target) -> str:
        """Return them."""
        async with Talk(target) as talk:
            return repr([await talk.line(), await talk.line(), await talk.exactly(2)])


class Flood(Check):
    """Reads for ever."""

    name = "flood"

    async def probe(self, target: Target) -> str:
        """Return the end."""
        async with Talk(target) as talk:
            while await talk.some():
                pass
        return "end"


def test_lines_and_lengths_are_read_however_they_are_cut() -> None:
    parts = says(b"on", b"e\r", b"\ntwo\nth", b"ree", after=b"")
    assert probed(Lines({}), parts) == repr([b"one", b"two", b"th"])


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "closed without an answer"),
        (b"one\n\x1b[2Jtw", r"closed after '\\\\x1b\[2Jtw'"),
        (b"x" * (LONGEST_LINE + 1), "a line without an end: xxx"),
    ],
)
def test_what_ends_too_early_or_never_is_told(sent: bytes, said: str) -> None:
    with pytest.raises(UnhealthyError, match=f"^{said}"):
        probed(Lines({}), says(sent, after=b""))


def test_a_flood_is_cut_off() -> None:
    async def serve(_reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            writer.write(bytes(MOST))
            await writer.drain()

    with pytest.raises(UnhealthyError, match=r"^more than 1024 KiB, and no end$"):
        probed(Flood({}), serve)


def test_what_a_server_said_is_quoted_on_one_line_and_not_too_long() -> None:
    assert (
        quoted(b"\x1b[31mred\r\nnext\xff\r\n") == "\\x1b[31mred\\r\\nnext\N{REPLACEMENT CHARACTER}"
    )
    assert len(quoted(b"x" * 1000)) == LONGEST_REASON
    assert len(quoted("\x1b" * 1000)) == LONGEST_REASON


def test_a_probe_that_is_given_up_leaves_nothing_open(recwarn: pytest.WarningsRecorder) -> None:
    async def serve(reader: StreamReader, _writer: StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            target = Target("127.0.0.1", listening.sockets[0].getsockname()[1])
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await Lines({}).probe(target)

    asyncio.run(run())
    gc.collect()
    assert [str(each.message) for each in recwarn] == []
