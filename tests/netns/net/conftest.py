"""Namespaces of two hosts with a link between them, for the tests of the network layer."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from lvsd.net import addresses, links, namespaces
from lvsd.net.kernel import talking
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.net.kernel import Kernel


@dataclass(frozen=True)
class Pair:
    """A host with addresses on ``lo`` and ``eth0``, and what is at the other end of ``eth0``."""

    kernel: Kernel
    name: str
    other: str

    def index(self, interface: str) -> int:
        """Return the index of one of the host's interfaces."""
        link = links.find(self.kernel, interface)
        assert link is not None
        return link.index

    def ip(self, *words: str) -> str:
        """Run iproute2 in the host; return what it printed."""
        argv = ["ip", "-n", self.name, *(word for each in words for word in each.split())]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextmanager
def two_namespaces(*sides: str) -> Iterator[list[str]]:
    """Make two namespaces for a ``with`` block; return their names."""
    names = [f"lvsd-net-{os.getpid()}-{side}" for side in sides]
    made = []
    try:
        for name in names:
            namespaces.add(name)
            made.append(name)
        yield names
    finally:
        for name in made:
            namespaces.delete(name)


@contextmanager
def linked(names: list[str], interfaces: Iterable[str], mtu: int) -> Iterator[Kernel]:
    """Link the first namespace to the second; return a conversation about the first."""
    with ExitStack() as stack:
        with namespaces.entered(names[0]):
            kernel = stack.enter_context(talking())
        other = stack.enter_context(namespaces.opened(names[1]))
        for name in interfaces:
            kernel.do(links.adding_veth(name, name, other, mtu))
        yield kernel


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Build the two hosts; remove them afterwards."""
    with two_namespaces("host", "other") as names, linked(names, ["eth0"], 1400) as kernel:
        yield _addressed(Pair(kernel, *names))


def _addressed(pair: Pair) -> Pair:
    with namespaces.entered(pair.other), talking() as kernel:
        far = links.find(kernel, "eth0")
        assert far is not None
        kernel.do(links.changing(far.index, up=True))
    eth0 = pair.index("eth0")
    pair.kernel.do(
        links.changing(pair.index("lo"), up=True),
        links.changing(eth0, up=True, mac=bytes.fromhex("020000000001")),
        addresses.adding(eth0, pack("10.0.0.1"), 24),
        addresses.adding(eth0, pack("2001:db8::1"), 64),
    )
    return pair
