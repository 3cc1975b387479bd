"""A packet goes into the same tunnel as in kernel IPVS; tunnels.toml comes from `record.py`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

from forwarders.plan import Encapsulate
from lvsd.packet.address import pack
from lvsd.packet.tunnel import compile_tunnel
from lvsd.packet.view import Packet
from tests.golden.packet.determined import determined

CASES: Final = tomllib.loads((Path(__file__).parent / "tunnels.toml").read_text())["case"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["description"])
def test_the_outer_packet_is_the_kernels_byte_for_byte(case: dict[str, Any]) -> None:
    ends = pack(case["source"]), pack(case["destination"])
    step = Encapsulate(*ends, case["kind"], case["port"], case["checksum"])
    packet = Packet()
    assert packet.load(bytes.fromhex(case["before"])) is None
    assert determined(compile_tunnel(step).wrap(packet, 0x1234)) == bytes.fromhex(case["after"])
