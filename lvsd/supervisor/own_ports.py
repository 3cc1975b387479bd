"""Have the host leave FULLNAT's local ports alone, and FULLNAT leave the host enough."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING, Final

import structlog

from lvsd.core import host_ports
from lvsd.core.commands import KeepPorts, ServiceChange
from lvsd.errors import KernelError
from lvsd.io import sysctls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from lvsd.core.commands import Change, Command
    from lvsd.core.local_pool import Range
    from lvsd.io.machine import Machine

RANGE: Final = "net.ipv4.ip_local_port_range"
"""It is IPv6's as well."""
RESERVED: Final = sysctls.RESERVED_PORTS

_REMEDY: Final = f"narrow local_ports, or widen {RANGE}"

log = structlog.get_logger("lvsd")


class OwnPorts:
    """Shares the host's ports between FULLNAT and the host.

    ``kept`` are the ranges that FULLNAT is not to give.
    """

    def __init__(self) -> None:
        self._machine: Machine | None = None
        self._is_on = False
        self.kept: tuple[Range, ...] = ()
        self._given: frozenset[Range] = frozenset()
        self._reserved: tuple[Range, ...] = ()

    def start(self, given: Collection[Range], machine: Machine, *, is_on: bool) -> None:
        """Share the ports of these ranges, and those of services that come, once it ``is_on``.

        Blocks.
        """
        self._machine, self._is_on = machine, is_on
        if is_on:
            self.share(given, machine)

    def state(self) -> dict[str, list[Range]]:
        """Return what was done, for `go_on`; JSON can hold it."""
        return {
            "kept": sorted(self.kept),
            "given": sorted(self._given),
            "reserved": sorted(self._reserved),
        }

    def go_on(
        self, state: Mapping[str, Iterable[Iterable[int]]], machine: Machine, *, is_on: bool
    ) -> None:
        """Go on where another one stood, on a machine that it has changed. Blocks not."""
        self._machine, self._is_on = machine, is_on
        kept, given, reserved = (
            tuple((low, high) for low, high in state.get(word, ()))
            for word in ("kept", "given", "reserved")
        )
        self.kept, self._given, self._reserved = kept, frozenset(given), reserved

    async def switch_on(self, given: Collection[Range]) -> None:
        """Share the ports of these ranges, and from now on those of services that come."""
        if not self._is_on and self._machine is not None:
            self._is_on = True
            await to_thread(self.share, given, self._machine)

    async def prepare(
        self, changes: Iterable[Change], kept: tuple[Range, ...]
    ) -> Sequence[Command]:
        """Share the ports of services that come; return what the engine is to do beforehand.

        It keeps the ports ``kept`` by now.
        """
        coming = (each.after for each in changes if isinstance(each, ServiceChange))
        pools = [each.local for each in coming if each is not None and each.local.addresses]
        given = {(each.low, each.high) for each in pools}
        if self._is_on and self._machine is not None and self.needs(given):
            await to_thread(self.share, given, self._machine)
        return [KeepPorts(self.kept)] if self.kept != kept else []

    def needs(self, given: Collection[Range]) -> bool:
        """Whether FULLNAT would give ports of these ranges that were not shared yet."""
        return not self._given.issuperset(given)

    def share(self, given: Collection[Range], changes: Machine) -> None:
        """Reserve those of the host's ports that FULLNAT gives; keep the rest from being given.

        They are reserved beside those that are so already. ``given`` are ranges of services with
        FULLNAT, more of them than before: no port is given up while lvsd runs, as a connection may
        have it. Where the kernel refuses, that is logged, and a connection of the host's own may
        meet one of FULLNAT's.
        """
        if not self.needs(given):
            return
        self._given |= set(given)
        try:
            low, high = map(int, sysctls.read(RANGE).split())
            before = host_ports.parse(sysctls.read(RESERVED))
            others = host_ports.without(before, self._reserved)
            division = host_ports.divide(self._given, (low, high), others)
            self.kept = division.kept
            reserved = host_ports.joined([*self._reserved, *division.reserved])
            if reserved != self._reserved:
                text = host_ports.write([*others, *reserved])
                changes.set_sysctl(RESERVED, text)
                self._reserved = reserved
                log.info("reserved local ports", sysctl=RESERVED, value=text)
        except (OSError, ValueError, KernelError) as error:
            log.warning("local ports may meet the host's own connections", error=str(error))
            return
        if division.left < host_ports.FEW:
            left = division.left
            what = "few ports are left to the host's own connections"
            log.warning(what, left=left, remedy=_REMEDY)
