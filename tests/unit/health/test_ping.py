"""``type = "ping"``: an echo request is answered; needs raw sockets, so root."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from lvsd.health.base import Target
from lvsd.health.checks.ping import FAMILIES, _is_answer, _listen_for, _request
from lvsd.lab.wait import PATIENCE
from lvsd.packet.layout import ICMP_HEADER
from tests.unit.health.servers import check

TREE = Path(__file__).parents[3]
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs raw sockets: run as root")


def asked(address: str, times: int = 1) -> list[str]:
    """Return what probes find that are made at once."""

    async def run() -> list[str]:
        ping = check("ping")
        async with asyncio.timeout(10 * PATIENCE):
            return await asyncio.gather(*(ping.probe(Target(address, 80)) for _ in range(times)))

    return asyncio.run(run())


@ROOT
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_host_that_answers_is_well(address: str) -> None:
    assert asked(address) == ["answered"]


@ROOT
def test_many_at_once_hear_their_own_answers_only() -> None:
    assert asked("127.0.0.1", 200) == ["answered"] * 200


@ROOT
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_kernel_keeps_everything_else_away(address: str) -> None:
    family = FAMILIES[Target(address, 0).family]
    of = socket.AF_INET if family.has_header else socket.AF_INET6
    with socket.socket(of, socket.SOCK_RAW, family.protocol) as raw:
        _listen_for(raw, family, 0x1234)
        raw.connect((address, 0))
        raw.settimeout(10 * PATIENCE)
        for number in (0x1235, 0x1234):
            raw.send(_request(family, number, b"%04x" % number))
        assert raw.recv(100)[-4:] == b"1234"
        raw.setblocking(False)
        with pytest.raises(BlockingIOError):
            raw.recv(100)


WITHOUT_RAW = """
ip link set lo up || exit 1
echo "0 0" >/proc/sys/net/ipv4/ping_group_range || exit 1
exec setpriv --bounding-set=-net_raw --inh-caps=-net_raw "$@"
"""

ASK = """
import asyncio, socket
from lvsd.health.base import Target
from lvsd.health.checks.ping import Ping
try:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
except PermissionError:
    for address in "127.0.0.1", "::1":
        print(asyncio.run(asyncio.wait_for(Ping({}).probe(Target(address, 0)), 30)))
"""


@ROOT
@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv: apt install util-linux")
def test_a_ping_socket_will_do_where_no_raw_one_is_allowed() -> None:
    script = ["unshare", "--net", "sh", "-c", WITHOUT_RAW, "sh", sys.executable, "-c", ASK]
    asked = subprocess.run(script, cwd=TREE, check=True, capture_output=True, text=True)
    assert asked.stdout == "answered\nanswered\n"


@pytest.mark.parametrize("version", [4, 6])
def test_only_the_answer_to_this_request_counts(version: int) -> None:
    family, token = FAMILIES[version], b"0123456789abcdef"

    def made(kind: int = family.reply, number: int = 7, sequence: int = 1) -> bytes:
        return ICMP_HEADER.pack(kind, 0, 0, number << 16 | sequence) + token

    assert _is_answer(made(), family, 7, token)
    assert _is_answer(made(number=9), family, None, token)
    others = [made(family.request), made(number=8), made(sequence=2), made()[:-1], b"", b"\0"]
    assert not any(_is_answer(each, family, 7, token) for each in others)


def test_the_checksum_is_the_internet_s() -> None:
    for token in (b"\xff" * 16, b"\0" * 16, b"0123456789abcdef"):
        request = _request(FAMILIES[4], 0xFFFF, token)
        total = sum(struct.unpack(f"!{len(request) // 2}H", request))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        assert total == 0xFFFF
