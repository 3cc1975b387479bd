"""Somebody else's commands against lvsd's tables: what is refused, what is put up again, and how.

With an owner the table is safe, and the guard is mended; without one, as on a kernel before 5.12,
the table itself is. Each test here that has a parameter ``owned`` says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from lvsd.errors import KernelError
from lvsd.io import compiling
from lvsd.io import nft as nft_program
from lvsd.io.divert import Divert, Diverted
from lvsd.io.leftovers import remove_leftovers, standing, table_stands
from lvsd.io.ruleset import REASSEMBLY, draft
from lvsd.io.ruleset_watch import RulesetWatch
from lvsd.packet.address import pack
from tests.netns.io.hosts import (
    CLIENT4,
    CLIENT6,
    PATIENCE_S,
    SERVER4,
    SERVER6,
    TCP,
    UDP,
    Row,
    comparable,
    nft,
    ruleset,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.netns.io.conftest import Queue

PORT = 5300
DIVERTED = Diverted(
    frozenset({(pack(SERVER4), UDP, PORT), (pack(SERVER6), UDP, PORT)}),
    marks=frozenset({7}),
    servers=frozenset({(pack(SERVER4), TCP, 80), (pack(SERVER6), TCP, 80)}),
)
DAMAGES = {
    "the whole ruleset flushed": "flush ruleset",
    "the table deleted": "delete table inet {table}",
    "all rules flushed": "flush table inet {table}",
    "one chain flushed": "flush chain inet {table} requests",
    "a set flushed": "flush set inet {table} services4",
    "one element deleted": "delete element inet {table} services4 {{ 10.0.0.2 . 17 . 5300 }}",
    "one element added": "add element inet {table} services4 {{ 198.51.100.1 . 17 . 1 }}",
    "one rule deleted": "delete rule inet {table} requests handle {handle}",
    "one rule put before": "insert rule inet {table} requests accept",
    "a set added": "add set inet {table} theirs {{ type mark; }}",
    "put to sleep": "add table inet {table} {{ flags dormant; }}",
}

OWNER = """
import os, signal, sys
from lvsd.io.divert import Divert
from tests.netns.io.test_ruleset_damage import DIVERTED
divert = Divert(8, on_crash=sys.argv[1])
divert.up(DIVERTED)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(params=[True, False], ids=["owned", "no owner"])
def divert(row: Row, queue: Queue, request: pytest.FixtureRequest) -> Iterator[Divert]:
    """Have the tables up, as on a kernel that knows owners and on one that does not."""
    del row
    divert = Divert(queue.number, owned=request.param)
    divert.up(DIVERTED)
    yield divert
    divert.down()


def vulnerable(divert: Divert) -> str:
    """Return the name of the table that others can change."""
    return "lvsd_guard" if divert.is_owned else "lvsd"


def damage(divert: Divert, command: str) -> None:
    """Run one command of nft against the table that others can change."""
    table = vulnerable(divert)
    handle = _last_rule(table) if "{handle}" in command else 0  # to read all rules takes time
    nft(command.format(table=table, handle=handle))


def _last_rule(table: str) -> int:
    return next(
        int(entry["rule"]["handle"])
        for entry in reversed(ruleset())
        if entry.get("rule", {}).get("table") == table and entry["rule"]["chain"] == "requests"
    )


@pytest.mark.parametrize("command", DAMAGES.values(), ids=DAMAGES.keys())
def test_every_damage_is_found_and_mended(divert: Divert, command: str) -> None:
    before = comparable(ruleset())
    assert divert.mend() == []
    damage(divert, command)
    assert comparable(ruleset()) != before
    assert divert.mend() == [vulnerable(divert)]
    assert sorted(comparable(ruleset())) == sorted(before)
    assert divert.mend() == []


def test_after_an_update_the_new_elements_are_what_is_right(divert: Divert) -> None:
    divert.update(Diverted(marks=frozenset({8})))
    assert divert.mend() == []
    nft("flush ruleset")
    divert.mend()
    assert [entry["set"]["elem"] for entry in ruleset() if "elem" in entry.get("set", {})] == (
        [[8], *ERRORS] * len(divert.names)
    )


ERRORS = (
    ["destination-unreachable", "source-quench", "time-exceeded"],
    ["destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"],
)


@pytest.mark.parametrize("command", list(DAMAGES.values())[1:], ids=list(DAMAGES)[1:])
def test_nobody_else_can_change_a_table_that_has_an_owner(row: Row, command: str) -> None:
    del row
    divert = Divert(8)
    divert.up(DIVERTED)
    before = ruleset()
    refused = subprocess.run(
        ["nft", command.format(table="lvsd", handle=1)], check=False, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert ruleset() == before
    divert.down()


def test_while_others_flush_the_ruleset_every_packet_is_still_diverted(
    row: Row, queue: Queue
) -> None:
    divert = Divert(queue.number)
    divert.up(DIVERTED)
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        for number in range(50):
            nft("flush ruleset")
            sender.sendto(b"%d" % number, (SERVER4, PORT))
            queue.wait(number + 1)
            assert receiver.recv(100) == b"%d" % number
            if number % 2:
                divert.mend()
    divert.down()


@pytest.mark.parametrize(("client", "server"), [(CLIENT4, SERVER4), (CLIENT6, SERVER6)])
def test_the_guard_lets_pass_what_was_queued_and_leaves_its_priority_alone(
    row: Row, queue: Queue, client: str, server: str
) -> None:
    nft(
        "table inet theirs { chain before { type filter hook prerouting priority -150; "
        "udp dport 5300 meta priority set 0x10002; }; "
        "chain behind { type filter hook prerouting priority -140; "
        "udp dport 5300 meta priority 0x10002 counter; udp dport 5300 counter; }; }"
    )
    divert = Divert(queue.number)
    divert.up(DIVERTED)
    with row.client.udp(client) as sender, row.server.udp(server, PORT) as receiver:
        sender.sendto(b"x", (server, PORT))
        queue.wait()
        assert receiver.recv(100) == b"x"
    shown = subprocess.run(
        ["nft", "list", "chain", "inet", "theirs", "behind"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    divert.down()
    assert re.findall(r"counter packets (\d+)", shown) == ["1", "1"]


@pytest.mark.parametrize("on_crash", ["drop", "bypass"])
def test_a_killed_owner_leaves_what_on_crash_says(row: Row, on_crash: str) -> None:
    killed = subprocess.run([sys.executable, "-c", OWNER, on_crash], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not table_stands()
    assert standing() == (["lvsd_guard"] if on_crash == "drop" else [])
    received = []
    with row.client.udp(CLIENT4) as sender, row.server.udp(SERVER4, PORT) as receiver:
        sender.sendto(b"after the crash", (SERVER4, PORT))
        removed = remove_leftovers()
        sender.sendto(b"afterwards", (SERVER4, PORT))
        while b"afterwards" not in received:
            received.append(receiver.recv(100))
    assert (b"after the crash" in received) is (on_crash == "bypass")
    assert (removed, ruleset()) == (["lvsd_guard"] if on_crash == "drop" else [], [])


def test_the_next_lvsd_replaces_the_guard_of_a_killed_one(row: Row) -> None:
    del row
    subprocess.run([sys.executable, "-c", OWNER, "drop"], check=False)
    divert = Divert(8)
    divert.up(Diverted(marks=frozenset({9})))
    assert divert.mend() == []
    divert.down()
    assert ruleset() == []


def test_a_table_left_behind_without_an_owner_is_removed_once(row: Row) -> None:
    del row
    Divert(8, owned=False).up(DIVERTED)
    assert remove_leftovers() == ["lvsd"]
    assert ruleset() == []
    assert remove_leftovers() == []


def test_a_draft_that_a_killed_lvsd_left_is_removed_and_is_in_nobodys_way(row: Row) -> None:
    del row
    nft(draft(REASSEMBLY[-1], guarded=True))
    assert standing() == ["lvsd_draft"]
    divert = Divert(8)
    divert.up(DIVERTED)
    divert.down()
    assert ruleset() == []
    nft(draft(REASSEMBLY[-1], guarded=True))
    assert remove_leftovers() == ["lvsd_draft"]
    assert ruleset() == []


class Watched:
    """What a watch reported, and until when."""

    def __init__(self, divert: Divert) -> None:
        self.mended: list[tuple[list[str], int]] = []
        self.watch = RulesetWatch(
            divert,
            lambda names, times: self.mended.append((names, times)),
            time.monotonic,
        )

    async def until(self, times: int) -> None:
        """Wait until so many tables were put up again."""
        async with asyncio.timeout(PATIENCE_S):
            while self.watch.mended < times:  # noqa: ASYNC110 - what else is there to wait for
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def watching(divert: Divert) -> AsyncIterator[Watched]:
    watched = Watched(divert)
    watched.watch.start(asyncio.get_running_loop())
    try:
        yield watched
    finally:
        watched.watch.close()


def run(main: Any) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@pytest.mark.parametrize("command", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_watch_notices_every_damage_by_itself_and_says_it_once(
    divert: Divert, command: str
) -> None:
    before = sorted(comparable(ruleset()))

    async def main() -> None:
        async with watching(divert) as watched:
            damage(divert, command)
            await watched.until(1)
            assert sorted(comparable(ruleset())) == before
            for _ in range(3):
                damage(divert, command)
                await watched.until(watched.watch.mended + 1)
            assert watched.mended == [([vulnerable(divert)], 1)]

    run(main())


def test_a_watch_leaves_other_tables_and_its_own_changes_alone(
    divert: Divert, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended: list[int] = []

    def mend() -> list[str]:
        mended.append(1)
        return []

    monkeypatch.setattr(divert, "mend", mend)

    async def main() -> None:
        async with watching(divert) as watched:
            divert.update(Diverted(marks=frozenset({8})))
            nft("add table inet theirs; add table ip lvsd; delete table ip lvsd")
            await asyncio.sleep(0.05)
            watched.watch.check()
            assert mended == []
            nft(f"add set inet {vulnerable(divert)} theirs {{ type mark; }}")
            async with asyncio.timeout(PATIENCE_S):
                while not mended:  # noqa: ASYNC110 - same reason
                    await asyncio.sleep(0.001)

    run(main())


def test_after_many_flushes_in_a_row_the_tables_stand_and_it_was_said_once(divert: Divert) -> None:
    before = sorted(comparable(ruleset()))

    async def main() -> None:
        async with watching(divert) as watched:
            flusher = await asyncio.create_subprocess_exec(
                "sh", "-c", "for i in $(seq 100); do nft flush ruleset; done"
            )
            await flusher.wait()
            async with asyncio.timeout(PATIENCE_S):
                while sorted(comparable(ruleset())) != before:  # noqa: ASYNC110 - same reason
                    await asyncio.sleep(0.01)
            assert len(watched.mended) == 1

    run(main())


def test_a_lost_notification_is_made_up_for_by_the_check(divert: Divert) -> None:
    async def main() -> None:
        async with watching(divert) as watched:
            assert watched.watch._socket is not None
            asyncio.get_running_loop().remove_reader(watched.watch._socket.fileno())
            nft("flush ruleset")
            watched.watch.check()
            assert watched.mended == [([vulnerable(divert)], 1)]

    run(main())


def test_a_kernel_that_refuses_ends_nothing_and_is_asked_again(
    divert: Divert, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[str]:
        raise KernelError("read", OSError(os.EX_OSERR, "busy"), "try again")

    async def main() -> None:
        watched = Watched(divert)
        watched.watch.start(asyncio.get_running_loop())
        with monkeypatch.context() as patch:
            patch.setattr(divert, "mend", refuse)
            nft("flush ruleset")
            await asyncio.sleep(0.05)
            with pytest.raises(KernelError, match="busy"):
                watched.watch.check()
        watched.watch.check()
        assert watched.mended == [([vulnerable(divert)], 1)]
        watched.watch.close()

    run(main())


@pytest.mark.usefixtures("row")
@pytest.mark.parametrize("flushes", [1, 25])
def test_a_draft_that_others_flush_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch, flushes: int
) -> None:
    flush_after_each_compilation(monkeypatch, flushes)
    divert = Divert(7)
    try:
        divert.up(DIVERTED)
        assert table_stands()
    finally:
        divert.down()


@pytest.mark.usefixtures("row")
def test_flushes_without_an_end_are_named_and_not_taken_for_a_kernel_that_cannot_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flush_after_each_compilation(monkeypatch, 10_000)
    monkeypatch.setattr(compiling, "_TRIES", 3)
    with pytest.raises(KernelError) as caught:
        Divert(7).up(DIVERTED)
    assert "others flush or change the nftables ruleset" in str(caught.value)
    assert not standing()


def flush_after_each_compilation(monkeypatch: pytest.MonkeyPatch, flushes: int) -> None:
    """Have somebody flush the ruleset, so often, as soon as nft has compiled the draft."""
    left = iter(range(flushes))
    run_nft = nft_program.run

    def run_and_flush(operation: str, script: str, timeout_s: float | None = None) -> None:
        run_nft(operation, script, timeout_s)
        if next(left, None) is not None:
            nft("flush ruleset")

    monkeypatch.setattr(nft_program, "run", run_and_flush)
