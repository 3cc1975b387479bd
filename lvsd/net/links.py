"""Network interfaces: what they are like; make, change and remove them (ip-link(8))."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lvsd.errors import KernelError
from lvsd.net.kernel import NEW, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.net.kernel import Kernel, Message

_NEWLINK, _DELLINK = 16, 17
_ETHERNET: Final = 1  # ARPHRD_ETHER
_UP, _LOOPBACK, _RUNNING, _NOARP = 0x01, 0x08, 0x40, 0x80
_LACKING: Final = frozenset({errno.ENODEV})
_REMEDY: Final = "see whether it can be done by `ip link`"


@dataclass(frozen=True, slots=True)
class Link:
    """An interface; ``kind`` as in ``ip link add type``, empty for a device of no kind."""

    index: int
    name: str
    kind: str
    mtu: int
    """In bytes."""
    mac: bytes
    """Empty where it has none."""
    is_ethernet: bool
    is_up: bool
    is_running: bool
    """It is up and has a carrier."""
    speaks_arp: bool
    """It asks and answers by ARP: no loopback, and no tunnel."""
    master: int | None = None
    """The index of the bridge or VRF that it belongs to."""
    is_operational: bool = False
    """The kernel has taken note that it can carry packets, a moment after it can."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets that an interface has received and sent, ARP and the like among them."""

    received: int
    sent: int

    def __sub__(self, before: Counts) -> Counts:
        return Counts(self.received - before.received, self.sent - before.sent)


def every(kernel: Kernel) -> tuple[Link, ...]:
    """Return all interfaces. Raise KernelError."""
    return tuple(kernel.dump("link", "list the interfaces", made))


def find(kernel: Kernel, name: str) -> Link | None:
    """Return the interface of a name, None without it. Raise KernelError."""
    message = _message(kernel, name)
    return None if message is None else made(message)


def counts(kernel: Kernel, name: str) -> Counts:
    """Return what has crossed an interface since it was made. Raise KernelError without it."""
    message = _message(kernel, name)
    if message is None:
        raise KernelError(
            f"count packets at {name}", "there is no such interface", "see `ip link` there"
        )
    counted = message.get_attr("IFLA_STATS64")
    return Counts(counted["rx_packets"], counted["tx_packets"])


def adding(name: str, kind: str, data: Sequence[tuple[str, Any]] = (), mtu: int = 0) -> Request:
    """Return the request to make an interface, down; ``data`` are attributes of its kind.

    It is refused by EEXIST when the name, or what it would receive, is another's; by EOPNOTSUPP
    when the kernel has no such kind, nor a module for it.
    """
    info: list[tuple[str, Any]] = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": list(data)}))
    attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", name)]
    if mtu:
        attributes.append(("IFLA_MTU", mtu))
    attributes.append(("IFLA_LINKINFO", {"attrs": info}))
    return Request(_NEWLINK, NEW, {}, attributes, f"make the {kind} interface {name}", _REMEDY)


def adding_veth(name: str, peer: str, namespace: int, mtu: int) -> Request:
    """Return the request to make a pair of interfaces, both down.

    ``peer`` is in the namespace of an open descriptor.
    """
    other = [("IFLA_IFNAME", peer), ("IFLA_MTU", mtu), ("IFLA_NET_NS_FD", namespace)]
    return adding(name, "veth", [("VETH_INFO_PEER", {"attrs": other})], mtu)


def changing(
    index: int,
    *,
    up: bool | None = None,
    mtu: int | None = None,
    mac: bytes | None = None,
    master: int | None = None,
) -> Request:
    """Return the request to change what is given of an interface."""
    attributes: list[tuple[str, Any]] = []
    if mac is not None:
        attributes.append(("IFLA_ADDRESS", mac.hex(":")))
    if mtu is not None:
        attributes.append(("IFLA_MTU", mtu))
    if master is not None:
        attributes.append(("IFLA_MASTER", master))
    fields = {"index": index}
    if up is not None:
        fields |= {"flags": _UP * up, "change": _UP}
    return Request(_NEWLINK, 0, fields, attributes, f"change interface {index}", _REMEDY)


def deleting(index: int) -> Request:
    """Return the request to remove an interface; it is refused by ENODEV without one."""
    return Request(_DELLINK, 0, {"index": index}, (), f"remove interface {index}", _REMEDY)


def made(message: Message) -> Link:
    """Return the interface that a message describes."""
    flags = message["flags"]
    mac, info = message.get_attr("IFLA_ADDRESS"), message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=info.get_attr("IFLA_INFO_KIND") or "" if info else "",
        mtu=message.get_attr("IFLA_MTU"),
        mac=bytes.fromhex(mac.replace(":", "")) if mac else b"",
        is_ethernet=message["ifi_type"] == _ETHERNET,
        is_up=bool(flags & _UP),
        is_running=bool(flags & _UP and flags & _RUNNING),
        speaks_arp=not flags & (_LOOPBACK | _NOARP),
        master=message.get_attr("IFLA_MASTER"),
        is_operational=message.get_attr("IFLA_OPERSTATE") == "UP",
    )


def _message(kernel: Kernel, name: str) -> Message | None:
    return kernel.get("link", f"look at interface {name}", lacking=_LACKING, ifname=name)
