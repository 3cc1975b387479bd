"""All virtual services, and which one a packet is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.service import FTP_PORT, TCP
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.service import RealServer, Service
    from lvsd.core.values import ServiceKey

FTP_DATA_PORT = 20
UNPRIVILEGED_PORT_START = 1024

SWEPT_FROM = 16
"""Removed services that are kept before those of which nothing is left are looked for."""


class ServiceTable:
    """All virtual services, and the kernel's order of looking one up.

    ``vips`` has the virtual addresses, packed, with the number of services at each.
    ``has_removed``: servers with connections were removed since the upkeep last looked. Only
    `lvsd.core.apply` lets services come and go.
    """

    __slots__ = (
        "_any_port",
        "_endpoints",
        "_ftp",
        "_is_in_order",
        "_marks",
        "_removed",
        "_serial",
        "_swept_at",
        "has_removed",
        "vips",
    )

    def __init__(self) -> None:
        self._serial = 0
        self._is_in_order = True
        """Whether services stand in the order in which they came."""
        self._swept_at = SWEPT_FROM
        self.has_removed = False
        self.vips: dict[bytes, int] = {}
        self._endpoints: dict[tuple[int, bytes, int], Service] = {}
        self._marks: dict[tuple[int, int], Service] = {}
        self._removed: dict[ServiceKey, dict[tuple[bytes, int], RealServer]] = {}
        self._any_port = 0
        self._ftp = 0

    def __iter__(self) -> Iterator[Service]:
        if not self._is_in_order:
            self._is_in_order = True
            self._endpoints = dict(sorted(self._endpoints.items(), key=_serial))
            self._marks = dict(sorted(self._marks.items(), key=_serial))
        yield from self._endpoints.values()
        yield from self._marks.values()

    def __len__(self) -> int:
        return len(self._endpoints) + len(self._marks)

    def removed(self) -> Iterator[RealServer]:
        """Yield the removed servers that still have connections, those of removed services too."""
        for service in self:
            yield from service.removed.values()
        for kept in self._removed.values():
            yield from kept.values()

    def _find(self, key: ServiceKey) -> Service | None:
        if key.fwmark:
            return self._marks.get((key.fwmark, key.family))
        return self._endpoints.get((key.protocol, key.vip, key.vport))

    def has(self, key: ServiceKey) -> bool:
        """Whether there is a service with this key."""
        return self._find(key) is not None

    def get(self, key: ServiceKey) -> Service:
        """Return the service with this key. Raise ControlError if there is none."""
        service = self._find(key)
        if service is None:
            raise ControlError("No such service")
        return service

    def put_in(self, service: Service) -> None:
        """Take in a service, with the servers that an earlier one of the same key left.

        Raise ControlError if its key is taken.
        """
        if self.has(service.key):
            raise ControlError("Service already exists")
        service.serial = self._serial
        self._serial += 1
        self._insert(service)
        removed = self._removed.pop(service.key, None)
        if removed:
            service.removed = removed
            for server in removed.values():
                service.share = server.service.share  # all have one, which counts what they left

    def withdraw(self, service: Service) -> None:
        """Undo `put_in`: as if the service had never been there."""
        self._delete(service)
        if service.removed:
            self._removed[service.key] = service.removed

    def take_out(self, service: Service) -> None:
        """Remove a service; what its servers have, or will leave, is kept."""
        self._delete(service)
        if len(self._removed) > self._swept_at:
            self._removed = {key: kept for key, kept in self._removed.items() if kept}
            self._swept_at = 2 * len(self._removed) + SWEPT_FROM
        self._removed[service.key] = service.removed

    def put_back(self, service: Service) -> None:
        """Undo `take_out`: the service stands where it stood."""
        self._removed.pop(service.key, None)
        self._insert(service)
        self._is_in_order = False

    def _insert(self, service: Service) -> None:
        key = service.key
        if key.fwmark:
            self._marks[key.fwmark, key.family] = service
        else:
            self._endpoints[key.protocol, key.vip, key.vport] = service
            self._count(key, 1)

    def _delete(self, service: Service) -> None:
        key = service.key
        if key.fwmark:
            del self._marks[key.fwmark, key.family]
        else:
            del self._endpoints[key.protocol, key.vip, key.vport]
            self._count(key, -1)

    def _count(self, key: ServiceKey, change: int) -> None:
        self._any_port += change * (key.vport == 0)
        self._ftp += change * (key.protocol == TCP and key.vport == FTP_PORT)
        self.vips[key.vip] = self.vips.get(key.vip, 0) + change
        if not self.vips[key.vip]:
            del self.vips[key.vip]

    def has_mark(self, fwmark: int, family: int) -> bool:
        """Whether there is a service of this firewall mark, 0 being none, in a family, 4 or 6."""
        return (fwmark, family) in self._marks

    def lookup(self, protocol: int, vip: bytes, vport: int, fwmark: int) -> Service | None:
        """Return the service for a packet: by mark, endpoint, the VIP's FTP, the VIP's port 0.

        Source: ip_vs_service_find.
        """
        if fwmark:
            service = self._marks.get((fwmark, 4 if len(vip) == 4 else 6))
            if service is not None:
                return service
        endpoints = self._endpoints
        service = endpoints.get((protocol, vip, vport))
        if service is not None:
            return service
        if (
            self._ftp
            and protocol == TCP
            and (vport == FTP_DATA_PORT or vport >= UNPRIVILEGED_PORT_START)
        ):
            service = endpoints.get((TCP, vip, FTP_PORT))
            if service is not None:
                return service
        if self._any_port:
            return endpoints.get((protocol, vip, 0))
        return None


def _serial(item: tuple[object, Service]) -> int:
    return item[1].serial
