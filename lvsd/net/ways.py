"""How packets leave this host for an address: the kernel's own answer (`ip route get`)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.net import links
from lvsd.net.families import family
from lvsd.net.routes import LOCAL, UNICAST, gateway, hops, own_mtu
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lvsd.net.kernel import Kernel, Message
    from lvsd.net.links import Link

_FIB_MATCH: Final = 0x2000  # RTM_F_FIB_MATCH: the table's entry, not what the kernel makes of it
_NO_ROUTE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES, errno.EAGAIN}
)


class Way(NamedTuple):
    """How a packet leaves the host for an address."""

    interface: int
    """Its index; the loopback's for an address of this host."""
    name: str
    gateway: bytes | None
    """The next router, packed; None: the address itself is on the link."""
    is_ethernet: bool
    mac: bytes
    """The interface's own, the source of frames; empty if it has none."""
    mtu: int
    """Longest packet in bytes: the route's own MTU, else the least of the links that it leads out
    of; never a path MTU that was learned from ICMP (ip_dst_mtu_maybe_forward)."""
    source: bytes | None = None
    """What this host speaks from; its own addresses are their own source."""
    is_local: bool = False
    """It is an address of this host."""


def ask(kernel: Kernel, addresses: Iterable[bytes]) -> dict[bytes, Way | None]:
    """Return the way to each address; None: no route. Raise KernelError.

    Of several next hops the one that the kernel would take now. Two questions each, which take
    some 0.3 ms.
    """
    by_index = {link.index: link for link in links.every(kernel)}
    return {address: _ask(kernel, address, by_index) for address in dict.fromkeys(addresses)}


def _ask(kernel: Kernel, address: bytes, by_index: Mapping[int, Link]) -> Way | None:
    taken, entry = (_answer(kernel, address, flags) for flags in (0, _FIB_MATCH))
    out = by_index.get(taken.get_attr("RTA_OIF")) if taken else None
    if taken is None or out is None:
        return None
    mtus = [
        by_index[hop.interface].mtu for hop in hops(entry or taken) if hop.interface in by_index
    ]
    source = taken.get_attr("RTA_PREFSRC")
    return Way(
        out.index,
        out.name,
        gateway(taken),
        out.is_ethernet,
        out.mac,
        own_mtu(entry or taken) or min(mtus, default=out.mtu),
        pack(source) if source else None,
        taken["type"] == LOCAL,
    )


def _answer(kernel: Kernel, address: bytes, flags: int) -> Message | None:
    """Return the kernel's answer, None if packets cannot go by it. Raise KernelError."""
    answer = kernel.get(
        "route",
        f"look up the route to {text(address)}",
        lacking=_NO_ROUTE,
        family=family(address),
        dst=text(address),
        flags=flags,
    )
    return answer if answer is not None and answer["type"] in {UNICAST, LOCAL} else None
