"""How packets leave this host for an address: the kernel's own answer (`ip route get`)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from lvsd.errors import KernelError
from lvsd.net import links
from lvsd.net.families import family
from lvsd.net.kernel import Request
from lvsd.net.routes import LOCAL, UNICAST, gateway, hops, own_mtu
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lvsd.net.kernel import Kernel, Message
    from lvsd.net.links import Link

_GETROUTE: Final = 26
_REMEDY: Final = "see whether `ip route` works in this namespace"
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

    Of several next hops the one that the kernel would take now. Two questions each.
    """
    wanted = tuple(dict.fromkeys(addresses))
    if not wanted:
        return {}
    by_index = {link.index: link for link in links.every(kernel)}
    taken, entries = (_answers(kernel, wanted, flags) for flags in (0, _FIB_MATCH))
    return {
        address: _way(route, entry, by_index)
        for address, route, entry in zip(wanted, taken, entries, strict=True)
    }


def not_local(kernel: Kernel, addresses: Sequence[bytes]) -> list[bytes]:
    """Return those of some addresses to which packets are not delivered here. Raise KernelError."""
    entries = _answers(kernel, addresses, _FIB_MATCH)
    return [
        address
        for address, entry in zip(addresses, entries, strict=True)
        if entry is None or entry["type"] != LOCAL
    ]


def _way(taken: Message | None, entry: Message | None, by_index: Mapping[int, Link]) -> Way | None:
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


def _answers(kernel: Kernel, addresses: Sequence[bytes], flags: int) -> list[Message | None]:
    """Return the kernel's answers, None where packets cannot go. Raise KernelError."""
    found: list[Message | None] = []
    for answer in kernel.answers([_question(address, flags) for address in addresses]):
        if isinstance(answer, KernelError):
            if answer.errno not in _NO_ROUTE:
                raise answer
            found.append(None)
        else:
            found.append(answer if answer["type"] in {UNICAST, LOCAL} else None)
    return found


def _question(address: bytes, flags: int) -> Request:
    fields = {"family": family(address), "dst_len": 8 * len(address), "flags": flags}
    what = f"look up the route to {text(address)}"
    return Request(_GETROUTE, 0, fields, [("RTA_DST", text(address))], what, _REMEDY)
