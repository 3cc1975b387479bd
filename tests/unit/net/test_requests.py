"""What goes to the kernel for a tunnel device, byte by byte (linux/if_tunnel.h).

pyroute2 leaves out silently what it does not know the name of.
"""

from __future__ import annotations

import socket
import struct
import sys
from subprocess import run
from typing import Final

import pytest

from lvsd.io.netlink import attribute, nested, string
from lvsd.net import links
from lvsd.net.kernel import _pyroute2, encode
from lvsd.packet.address import pack
from lvsd.realserver.decapsulation import Carrier
from lvsd.realserver.ends import TunnelEnd
from lvsd.realserver.kernel_devices import devices

HEADER: Final = 16 + 16  # struct nlmsghdr, struct ifinfomsg
FLAG: Final = b""
V4, V6 = socket.AF_INET, socket.AF_INET6


def sent(name: str, kind: str, data: tuple[tuple[str, object], ...]) -> bytes:
    """Return the attributes of the request to make an interface."""
    conversation, _ = _pyroute2()
    with conversation() as made:
        return encode(made.marshal.msg_map, links.adding(name, kind, data), 1)[HEADER:]


@pytest.mark.parametrize(
    ("end", "director", "name", "kind", "data"),
    [
        (TunnelEnd(Carrier.IPV4, V4), "", "lvsd-ipip", "ipip", [(19, FLAG)]),
        (TunnelEnd(Carrier.IPV6, V6), "", "lvsd-ip6tnl", "ip6tnl", [(19, FLAG), (9, b"\0")]),
        (TunnelEnd(Carrier.GRE, V4), "", "lvsd-gre", "gre", [(18, FLAG)]),
        (TunnelEnd(Carrier.GRE, V6), "", "lvsd-ip6gre", "ip6gre", [(18, FLAG)]),
        (TunnelEnd(Carrier.IPV4, V4), "10.0.0.1", "lvsd-ipip0", "ipip", [(3, pack("10.0.0.1"))]),
        (TunnelEnd(Carrier.IPV6, V4), "10.0.0.1", "lvsd-sit0", "sit", [(3, pack("10.0.0.1"))]),
        (
            TunnelEnd(Carrier.IPV4, V6),
            "fd00::1",
            "lvsd-ip6tnl0",
            "ip6tnl",
            [(3, pack("fd00::1")), (9, b"\0")],
        ),
        (TunnelEnd(Carrier.GRE, V4), "10.0.0.1", "lvsd-gre0", "gre", [(7, pack("10.0.0.1"))]),
        (TunnelEnd(Carrier.GRE, V6), "fd00::1", "lvsd-ip6gre0", "ip6gre", [(7, pack("fd00::1"))]),
    ],
)
def test_a_tunnel_device_is_asked_for_with_all_that_makes_it_one(
    end: TunnelEnd, director: str, name: str, kind: str, data: list[tuple[int, bytes]]
) -> None:
    [device] = devices(end, [pack(director)] if director else [])
    ours = sent(device.name, device.kind, device.attributes)
    inner = b"".join(attribute(*each) for each in data)
    info = string(1, kind) + struct.pack("=HH", 4 + len(inner), 2) + inner
    without_nesting = string(3, name) + attribute(18, info)
    # Whether nested attributes are marked as such is all the same to the kernel.
    assert ours in {without_nesting, string(3, name) + nested(18, info)}


def test_an_engine_loads_no_pyroute2() -> None:
    code = "import sys; import lvsd.engine.engine; print('pyroute2' in sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


WHOLE: Final = """
import sys
from lvsd.net.kernel import talking
from lvsd.net import links
with talking() as kernel:
    links.every(kernel)
assert "pyroute2.ndb.main" not in sys.modules
from pyroute2 import NDB, IPRoute
import pyroute2.netlink.rtnl
from lvsd.net.pyroute2_parts import IPRoute as ours
assert NDB.__name__ == "NDB" and IPRoute is ours
assert pyroute2.netlink.rtnl is sys.modules["pyroute2.netlink.rtnl"]
"""


def test_a_conversation_loads_what_it_needs_of_pyroute2_and_the_rest_can_be_had() -> None:
    run([sys.executable, "-c", WHOLE], check=True)


def test_pyroute2_that_somebody_has_loaded_whole_is_taken_as_it_is() -> None:
    code = (
        "import sys, pyroute2; from lvsd.net.pyroute2_parts import IPRoute; "
        "assert IPRoute is pyroute2.IPRoute and sys.modules['pyroute2'] is pyroute2"
    )
    run([sys.executable, "-c", code], check=True)
