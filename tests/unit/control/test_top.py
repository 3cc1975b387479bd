"""``lvsadm top`` shows what there is, in an order of choice, and drains what is chosen."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.control import lvsadm, top
from lvsd.control.describe import service_entry
from lvsd.control.top_rows import MOST, ORDERS, rows, short
from lvsd.core.commands import Drain
from lvsd.errors import ControlError
from tests.unit.core.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from lvsd.control.protocol import ServiceEntry
    from lvsd.control.top_view import Top

pytest.importorskip("textual", reason="it is in requirements/dev.lock: run `make venv`")

FIRST, SECOND = "10.0.0.1:8080", "10.0.0.2:8080"


class Fake:
    """A daemon: a director that is asked directly."""

    def __init__(self) -> None:
        self.world = World()
        web = self.world.serve(servers=2, name="web")
        self.world.serve("udp", 53, vip=2, servers=1)
        self.world.serve(fwmark=7, servers=1)
        self.first = web.servers[-1]
        self.commands: list[dict[str, Any]] = []
        self.looks = 0
        self.new_per_s = 0
        self.refusal = ""

    async def services(self) -> list[ServiceEntry]:
        """Return all services."""
        self.looks += 1
        if self.refusal:
            raise ControlError(self.refusal)
        found = [service_entry(each, self.world.now) for each in self.world.balancer.services]
        found[0]["servers"][-1]["rates"]["connections"] = self.new_per_s
        return found

    async def change(self, command: dict[str, Any]) -> None:
        """Take note of a command."""
        if self.refusal:
            raise ControlError(self.refusal)
        self.commands.append(command)
        server = self.first.config
        self.world.apply(Drain(self.first.service.key, server.address, server.port, 90))


@pytest.fixture
def fake() -> Fake:
    return Fake()


def show(fake: Fake, scenario: Callable[[Any, Top], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with somebody at the keys, once the first look is on the screen."""
    from lvsd.control.top_view import Top  # noqa: PLC0415 - textual may be absent

    async def around() -> None:
        top = Top(fake)
        async with asyncio.timeout(60), top.run_test(size=(140, 30)) as pilot:
            await until(pilot, lambda: bool(top.said))
            await scenario(pilot, top)

    asyncio.run(around())


async def until(pilot: Any, holds: Callable[[], bool]) -> None:
    while not holds():
        await pilot.pause(0.02)


def table(top: Top) -> list[list[str]]:
    """Return the cells that stand in the table."""
    found = top._table
    return [[cell.plain for cell in found.get_row_at(at)] for at in range(found.row_count)]


def names(top: Top) -> list[str]:
    return [each[0] for each in table(top)]


WEB = ["web (tcp 192.0.2.1:80)", f"  {FIRST} Masq", f"  {SECOND} Masq"]
DNS = ["udp 192.0.2.2:53", f"  {FIRST} Masq"]
MARKED = ["mark 7", f"  {FIRST} Masq"]


def test_services_and_their_servers_stand_in_the_table_with_what_they_have(fake: Fake) -> None:
    fake.world.establish()
    fake.new_per_s = 2000
    fake.first.refusals.count, fake.first.refusals.port = 3, 8080

    async def scenario(_: Any, top: Top) -> None:
        assert names(top) == [*WEB, *DNS, *MARKED]
        has = next(each for each in table(top)[1:3] if each[-1])
        assert has[1:3] == ["1", ""]
        assert has[5] == "2K"
        assert has[-1] == "refused 3 at port 8080"
        assert table(top)[0][3:5] == ["1", "0"]
        assert "services: 3  by address" in top.said

    show(fake, scenario)


def test_it_looks_again_by_itself_and_writes_what_is_new(fake: Fake) -> None:
    async def scenario(pilot: Any, top: Top) -> None:
        fake.world.edit_server(fake.first, weight=7)
        await until(pilot, lambda: table(top)[1][1] == "7")
        fake.world.remove_server(fake.first.service, 2)
        await until(pilot, lambda: names(top) == [*WEB[:2], *DNS, *MARKED])

    show(fake, scenario)


def test_a_key_orders_by_what_it_says_and_the_cursor_stays_with_its_row(fake: Fake) -> None:
    fake.world.edit_server(fake.first.service.servers[0], weight=9)

    async def scenario(pilot: Any, top: Top) -> None:
        await pilot.press("down")
        assert top.chosen is not None
        assert FIRST in top.chosen.name
        await pilot.press("w")
        assert names(top)[:3] == [WEB[0], WEB[2], WEB[1]]
        assert FIRST in top.chosen.name
        for key, order in (("a", "address"), ("c", "connections"), ("r", "rate"), ("b", "bytes")):
            await pilot.press(key)
            assert top.said.endswith(f"by {order}")

    show(fake, scenario)


def test_a_server_is_drained_if_that_is_confirmed(fake: Fake) -> None:
    async def scenario(pilot: Any, top: Top) -> None:
        await pilot.press("d")  # a service
        assert len(top.screen_stack) == 1
        await pilot.press("down", "d")
        assert f"Drain {FIRST} of web (tcp 192.0.2.1:80)?" in top.screen.question
        looks = fake.looks
        await until(pilot, lambda: fake.looks > looks)  # it goes on behind the question
        await pilot.press("n")
        await pilot.press("d", "y")
        await until(pilot, lambda: table(top)[1][2] != "")
        assert table(top)[1][1:3] == ["0 of 1", "draining, 90 s"]
        await pilot.press("u", "escape", "u", "y")
        await until(pilot, lambda: len(fake.commands) == 2)

    show(fake, scenario)
    ends = {
        "service": {"protocol": "tcp", "address": "192.0.2.1", "port": 80},
        "server": {"address": "10.0.0.1", "port": 8080},
    }
    assert fake.commands == [{"command": "drain", **ends}, {"command": "undrain", **ends}]


def test_a_refusal_and_a_daemon_that_is_away_are_said_and_it_goes_on(fake: Fake) -> None:
    async def scenario(pilot: Any, top: Top) -> None:
        fake.refusal = "Permission denied [/you]"
        await pilot.press("down", "d", "y")
        await until(pilot, lambda: bool(top._notifications))
        await until(pilot, lambda: top.said == f"{fake.refusal} - what is below is old")
        assert names(top) == [*WEB, *DNS, *MARKED]
        fake.refusal = ""
        await until(pilot, lambda: "services: 3" in top.said)
        await pilot.press("q")

    show(fake, scenario)


def test_more_rows_than_anybody_reads_are_left_out_and_counted(fake: Fake) -> None:
    (web, *_) = asyncio.run(fake.services())
    many = [web | {"port": port} for port in range(1, 1001)]
    for order in ORDERS:
        found, count = rows(many, order)
        assert (len(found), count) == (MOST, 3000)
        assert len({each.key for each in found}) == MOST


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1K"), (12_345, "12.3K"), (2_500_000, "2.5M"), (10**12, "1T")],
)
def test_numbers_are_short(number: int, text: str) -> None:
    assert short(number) == text


def test_without_textual_one_line_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['textual'] = None; sys.modules['textual.app'] = None\n"
        "from lvsd.control.lvsadm import main; sys.exit(main(['top']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "lvsadm top needs textual, which is not installed: "
        f"in lvsd's checkout, {sys.executable} -m pip install --require-hashes "
        "--no-build-isolation -r requirements/top.lock\n"
    )


def test_without_a_terminal_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = SimpleNamespace(call=lambda _: {})
    monkeypatch.setattr(top, "ControlClient", lambda _: contextlib.nullcontext(daemon))
    assert lvsadm.main(["top"]) == 2
    assert capsys.readouterr().err.startswith("lvsadm top needs a terminal")


def test_without_a_daemon_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lvsadm.main(["top", "--control", str(tmp_path / "nobody.sock")]) == 1
    assert capsys.readouterr().err.startswith("lvsd is not running: no socket")
