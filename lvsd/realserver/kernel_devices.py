"""The kernel's own tunnel devices, one for every tunnel that ends here, where the kernel has them.

A device ``external`` takes the packets of all senders. Making it loads the module that it needs.
IPv6 in IPv4 has no such device; there the one that comes with the module, sit0, is brought up.
GUE would need a port of its own besides (``ip fou``): lvsd takes it off itself.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lvsd.errors import KernelError
from lvsd.io import links
from lvsd.realserver.decapsulation import Carrier
from lvsd.realserver.ends import End
from lvsd.realserver.tun_device import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lvsd.io.machine import Machine

_IPTUN_COLLECT_METADATA: Final = 19
_IPTUN_PROTO: Final = 9
_GRE_COLLECT_METADATA: Final = 18
_ANY_PROTOCOL: Final = b"\0"

_LACKING: Final = {errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL}
"""What a kernel without a kind of device says, or without a part of it."""


@dataclass(frozen=True, slots=True)
class Device:
    """A tunnel device: its kind, and what it is made with, for netlink and for ip-link(8)."""

    name: str
    kind: str
    attributes: tuple[bytes, ...] = ()
    words: str = ""
    built_in: bool = False
    """It comes with the kernel's module, and is only brought up."""


_IP6TNL: Final = Device(
    "lvsd-ip6tnl",
    "ip6tnl",
    (links.flag(_IPTUN_COLLECT_METADATA), links.value(_IPTUN_PROTO, _ANY_PROTOCOL)),
    "mode any external",
)
DEVICES: Final = {
    End(Carrier.IPV4, socket.AF_INET): Device(
        "lvsd-ipip", "ipip", (links.flag(_IPTUN_COLLECT_METADATA),), "external"
    ),
    End(Carrier.IPV6, socket.AF_INET): Device("sit0", "sit", built_in=True),
    End(Carrier.IPV4, socket.AF_INET6): _IP6TNL,
    End(Carrier.IPV6, socket.AF_INET6): _IP6TNL,
    End(Carrier.GRE, socket.AF_INET): Device(
        "lvsd-gre", "gre", (links.flag(_GRE_COLLECT_METADATA),), "external"
    ),
    End(Carrier.GRE, socket.AF_INET6): Device(
        "lvsd-ip6gre", "ip6gre", (links.flag(_GRE_COLLECT_METADATA),), "external"
    ),
}
"""What receives which tunnels."""


def devices(ends: Iterable[End]) -> list[Device]:
    """Return the devices of some tunnels, each once."""
    return list(dict.fromkeys(DEVICES[end] for end in ends if end in DEVICES))


def make(ends: Sequence[End], machine: Machine) -> list[End]:
    """Make the devices that the kernel has; return the tunnels that are left without one.

    Raise KernelError when it has one and refuses it, such as because another device receives the
    same packets; PrivilegeError.
    """
    made = {device for device in devices(ends) if _make(device, machine)}
    return [end for end in ends if DEVICES.get(end) not in made]


def _make(device: Device, machine: Machine) -> bool:
    """Make one device, and bring it up; return False where the kernel has none."""
    if device.built_in:
        return _load(device) and machine.raise_link(device.name, device.kind)
    try:
        machine.add_link(device.name, device.kind, *device.attributes)
    except KernelError as error:
        if error.errno in _LACKING:
            return False
        raise
    try:
        prepare(device.name)
        links.bring_up(device.name)
    except OSError as error:
        remedy = "see what `ip address` and `sysctl net.ipv4.conf` say of it"
        raise KernelError(f"prepare the interface {device.name}", error, remedy) from error
    return True


def _load(device: Device) -> bool:
    """Have the kernel load the module that a device comes with; return whether it is there.

    A request for a new device of the kind loads it. One that cannot be told from the built-in one
    is refused, so nothing is made.
    """
    if links.kind_of(device.name) is not None:
        return True
    try:
        links.add(f"lvsd-{device.kind}", device.kind)
    except OSError as error:
        if error.errno not in {*_LACKING, errno.EEXIST}:
            raise
    else:
        links.delete(f"lvsd-{device.kind}")
    return links.kind_of(device.name) is not None
