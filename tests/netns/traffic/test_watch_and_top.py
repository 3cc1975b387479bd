"""``lvsadm watch`` and ``lvsadm top`` beside a daemon with real traffic."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lvsd.lab import settings
from lvsd.lab.traffic import Visitor
from lvsd.lab.wait import PATIENCE
from tests.netns.traffic.site import balanced, of, running

if TYPE_CHECKING:
    from lvsd.lab import Lab
    from tests.netns.traffic.site import Site

RPORT = 8080
LVSADM = [sys.executable, "-m", "lvsd.control.lvsadm"]


def configured(lab: Lab) -> str:
    return balanced(lab, "v4", 80, RPORT, servers=slice(2))


def drain(site: Site, server: str, *, back: bool = False) -> None:
    words = ["undrain" if back else "drain", server, "--control", str(site.daemon.control)]
    subprocess.run([*LVSADM, *words], check=True)


def server(lab: Lab) -> str:
    return settings.at(of(lab.servers[0].addresses, "v4"), RPORT)


def test_watch_tells_of_a_drain_that_it_is_empty_and_of_the_end(web_lab: Lab) -> None:
    with running(web_lab, configured(web_lab)) as site:
        command = [*LVSADM, "watch", "--control", str(site.daemon.control)]
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watch.stdout is not None
        while not select.select([watch.stdout], [], [], 0)[0]:  # until it listens
            drain(site, server(web_lab))
            drain(site, server(web_lab), back=True)
        lines = iter(watch.stdout.readline, "")
        undrained = next(each for each in lines if "server undrained" in each)
        place = f"{server(web_lab)} of tcp-80-v4 (tcp {settings.at(site.vip('v4'), 80)})"
        assert f"server undrained {place} (by uid 0, process " in undrained
        drain(site, server(web_lab))
        assert f"server empty {place}: it has no connections" in next(
            each for each in lines if "server empty" in each
        )
    _, errors = watch.communicate(timeout=60 * PATIENCE)
    assert (watch.returncode, errors.count("\n")) == (3, 1)
    assert errors.startswith("lvsd has ended, or hung up")


def test_top_shows_traffic_and_drains_at_the_press_of_a_key(web_lab: Lab) -> None:
    pytest.importorskip("textual", reason="it is in requirements/dev.lock: run `make venv`")
    from lvsd.control.top import Socket  # noqa: PLC0415 - textual may be absent
    from lvsd.control.top_view import Top  # noqa: PLC0415 - same reason

    async def look(site: Site, visitor: Visitor) -> None:
        top = Top(Socket(site.daemon.control))
        async with asyncio.timeout(patience_s()), top.run_test(size=(140, 30)) as pilot:
            while len(top.rows) != 3:
                await pilot.pause(0.1)
            assert [each.name for each in top.rows][1:] == [
                f"{settings.at(of(each.addresses, 'v4'), RPORT)} of {top.rows[0].name}"
                for each in web_lab.servers[:2]
            ]
            with closing(visitor.open(site.source("v4"))):
                while top.rows[0].cells[3] != "1":
                    await pilot.pause(0.1)
            await pilot.press("down", "d", "y")
            while top.rows[1].cells[2] != "drained":
                await pilot.pause(0.1)
            assert top.rows[1].cells[1] == "0 of 1"
            await pilot.press("u", "y")
            while top.rows[1].cells[1:3] != ("1", ""):
                await pilot.pause(0.1)

    with running(web_lab, configured(web_lab)) as site:
        asyncio.run(look(site, Visitor(site.lab.client, site.vip("v4"), 80)))


def patience_s() -> float:
    """Return how long a busy machine may take."""
    return 40.0 * PATIENCE


def test_top_is_on_a_terminal_until_q(web_lab: Lab) -> None:
    pytest.importorskip("textual", reason="it is in requirements/dev.lock: run `make venv`")
    with running(web_lab, configured(web_lab)) as site:
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
        command = [*LVSADM, "top", "--control", str(site.daemon.control)]
        environment = os.environ | {"TERM": "xterm-256color"}
        top = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
        os.close(its)
        seen = b""
        while server(web_lab).encode() not in seen:
            seen += os.read(ours, 65536)
        os.write(ours, b"q")
        with contextlib.suppress(OSError):  # EIO: it is at its end
            while os.read(ours, 65536):
                pass
        assert top.wait(60 * PATIENCE) == 0
        os.close(ours)
