"""One step of building a lab: a value, and how it is done in a namespace."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import groupby
from socket import if_nametoindex
from typing import TYPE_CHECKING, Final, TypeAlias

from lvsd.errors import KernelError
from lvsd.net import addresses, links, routes
from lvsd.net.namespaces import entered, opened
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from lvsd.net.kernel import Kernel, Request

_DAY_CS: Final = 24 * 3600 * 100
_FORWARDS_AT_ONCE: Final = (
    ("IFLA_BR_STP_STATE", 0),
    ("IFLA_BR_MCAST_SNOOPING", 0),
    ("IFLA_BR_AGEING_TIME", _DAY_CS),
)


@dataclass(frozen=True, slots=True)
class AddVeth:
    """Make a pair of interfaces, ``peer`` in another namespace."""

    interface: str
    peer: str
    namespace: str
    mtu: int


@dataclass(frozen=True, slots=True)
class AddBridge:
    """Make a bridge, without spanning tree and multicast snooping: it forwards at once.

    It remembers for a day where a MAC is, not for five minutes. A host that only receives would be
    forgotten, and what is sent to it be seen by all.
    """

    interface: str


@dataclass(frozen=True, slots=True)
class SetLink:
    """Bring an interface up, and change what is given."""

    interface: str
    mac: str | None = None
    mtu: int | None = None
    master: str | None = None


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Put an address on an interface; without ``preferred`` it is used only when asked for."""

    interface: str
    address: str
    prefix_length: int
    preferred: bool = True


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Add a route to a prefix or an address."""

    target: str
    gateway: str
    interface: str
    source: str | None = None


Step: TypeAlias = AddVeth | AddBridge | SetLink | AddAddress | AddRoute


@dataclass(frozen=True, slots=True)
class Round:
    """Steps in the namespace of ``node``."""

    node: str
    steps: tuple[Step, ...]

    def do(self, kernel: Kernel, where: str) -> None:
        """Do all steps in the namespace ``where``, which ``kernel`` is about. Raise KernelError."""
        with ExitStack() as stack:
            stack.enter_context(entered(where))
            try:
                # What a later step names has to be there when its request is made.
                for _, steps in groupby(self.steps, key=_makes_interface):
                    kernel.do(*(_request(step, stack) for step in steps))
            except KernelError as error:
                error.add_note(f"in {where}")
                raise


def _makes_interface(step: Step) -> bool:
    return isinstance(step, AddVeth | AddBridge)


def _request(step: Step, stack: ExitStack) -> Request:
    """Return what does a step; what it opens is closed by ``stack``."""
    match step:
        case AddVeth():
            namespace = stack.enter_context(opened(step.namespace))
            return links.adding_veth(step.interface, step.peer, namespace, step.mtu)
        case AddBridge():
            return links.adding(step.interface, "bridge", _FORWARDS_AT_ONCE)
        case SetLink():
            return links.changing(
                if_nametoindex(step.interface),
                up=True,
                mac=None if step.mac is None else bytes.fromhex(step.mac.replace(":", "")),
                mtu=step.mtu,
                master=None if step.master is None else if_nametoindex(step.master),
            )
        case AddAddress():
            return addresses.adding(
                if_nametoindex(step.interface),
                pack(step.address),
                step.prefix_length,
                preferred=step.preferred,
            )
        case AddRoute():
            target = ip_network(step.target)
            return routes.adding(
                target.network_address.packed,
                target.prefixlen,
                gateway=pack(step.gateway),
                interface=if_nametoindex(step.interface),
                source=None if step.source is None else pack(step.source),
            )
