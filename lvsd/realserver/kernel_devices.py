"""The kernel's own tunnel devices, for every tunnel that ends here, where the kernel has them.

A device ``external`` takes the packets of all senders, one with a ``remote`` those of a single
one. Making it loads the module that it needs. IPv6 in IPv4 has no ``external`` device; there the
one that comes with the module, sit0, is brought up.
GUE would need a port of its own besides (``ip fou``): lvsd takes it off itself.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lvsd.errors import KernelError
from lvsd.net import links
from lvsd.net.kernel import talking
from lvsd.packet.address import text
from lvsd.realserver.decapsulation import Carrier
from lvsd.realserver.ends import TunnelEnd
from lvsd.realserver.tun_device import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvsd.io.machine import Machine

_ANY_PROTOCOL: Final = 0

_LACKING: Final = {errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL}
"""What a kernel without a kind of device says, or without a part of it."""


@dataclass(frozen=True, slots=True)
class Device:
    """A tunnel device: its kind, and what it is made with, for pyroute2 and for ip-link(8)."""

    name: str
    kind: str
    attributes: tuple[tuple[str, Any], ...] = ()
    words: str = ""
    built_in: bool = False
    """It comes with the kernel's module, and is only brought up."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How devices of a kind are made."""

    kind: str
    prefix: str
    """What the names of its attributes begin with."""
    takes_all: bool = True
    """One can be made for all senders; else the kernel's own, named ``kind``0, is."""
    attributes: tuple[tuple[str, Any], ...] = ()
    words: str = ""


_IPIP: Final = _Kind("ipip", "IFLA_IPIP")
_SIT: Final = _Kind("sit", "IFLA_SIT", takes_all=False)
_IP6TNL: Final = _Kind(
    "ip6tnl",
    "IFLA_IP6TNL",
    attributes=(("IFLA_IP6TNL_PROTO", _ANY_PROTOCOL),),
    words="mode any ",
)
_GRE: Final = _Kind("gre", "IFLA_GRE")
_IP6GRE: Final = _Kind("ip6gre", "IFLA_IP6GRE")

_KINDS: Final = {
    TunnelEnd(Carrier.IPV4, socket.AF_INET): _IPIP,
    TunnelEnd(Carrier.IPV6, socket.AF_INET): _SIT,
    TunnelEnd(Carrier.IPV4, socket.AF_INET6): _IP6TNL,
    TunnelEnd(Carrier.IPV6, socket.AF_INET6): _IP6TNL,
    TunnelEnd(Carrier.GRE, socket.AF_INET): _GRE,
    TunnelEnd(Carrier.GRE, socket.AF_INET6): _IP6GRE,
}
"""What receives which tunnels."""


def devices(end: TunnelEnd, directors: Sequence[bytes] = ()) -> tuple[Device, ...]:
    """Return the devices of a tunnel: one for all senders, or one for each director named.

    None at all when no kernel has one.
    """
    kind = _KINDS.get(end)
    if kind is None:
        return ()
    length = 4 if end.family == socket.AF_INET else 16
    named = [director for director in directors if len(director) == length]
    if named:
        return tuple(
            Device(
                f"lvsd-{kind.kind}{number}",
                kind.kind,
                ((f"{kind.prefix}_REMOTE", text(director)), *kind.attributes),
                f"{kind.words}remote {text(director)}",
            )
            for number, director in enumerate(named)
        )
    if not kind.takes_all:
        return (Device(f"{kind.kind}0", kind.kind, built_in=True),)
    attributes = ((f"{kind.prefix}_COLLECT_METADATA", True), *kind.attributes)
    return (Device(f"lvsd-{kind.kind}", kind.kind, attributes, f"{kind.words}external"),)


def make(
    ends: Sequence[TunnelEnd], directors: Sequence[bytes], machine: Machine
) -> list[TunnelEnd]:
    """Make the devices that the kernel has; return the tunnels that are left without one.

    Raise KernelError when it has one and refuses it, such as because another device receives the
    same packets; PrivilegeError.
    """
    left = []
    for end in ends:
        wanted = devices(end, directors)
        if not wanted or not all(_make(device, machine) for device in wanted):
            left.append(end)
    return left


def _make(device: Device, machine: Machine) -> bool:
    """Make one device, and bring it up; return False where the kernel has none."""
    if device.built_in:
        return _load(device) and machine.raise_link(device.name, device.kind)
    try:
        machine.add_link(device.name, device.kind, device.attributes)
    except KernelError as error:
        if error.errno in _LACKING:
            return False
        raise
    try:
        prepare(device.name)
    except OSError as error:
        remedy = "see what `sysctl net.ipv4.conf` says of it"
        raise KernelError(f"prepare the interface {device.name}", error, remedy) from error
    return True


def _load(device: Device) -> bool:
    """Have the kernel load the module that a device comes with; return whether it is there.

    A request for a new device of the kind loads it. One that cannot be told from the built-in one
    is refused, so nothing is made.
    """
    with talking() as kernel:
        if links.find(kernel, device.name) is not None:
            return True
        name = f"lvsd-{device.kind}"
        try:
            kernel.do(links.adding(name, device.kind))
        except KernelError as error:
            if error.errno not in {*_LACKING, errno.EEXIST}:
                raise
        else:
            made = links.find(kernel, name)
            if made is not None:
                kernel.do(links.deleting(made.index))
        return links.find(kernel, device.name) is not None
