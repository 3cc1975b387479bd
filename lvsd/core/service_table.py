"""All virtual services, and which one a packet is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.core.service import FTP_PORT, TCP
from lvsd.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvsd.core.service import RealServer, Service, ServiceKey

FTP_DATA_PORT = 20
UNPRIVILEGED_PORT_START = 1024


class ServiceTable:
    """All virtual services, and the kernel's order of looking one up.

    ``vips`` has the virtual addresses, packed, with the number of services at each. ``version``
    changes with every service that comes or goes.
    """

    __slots__ = ("_any_port", "_departed", "_endpoints", "_ftp", "_marks", "version", "vips")

    def __init__(self) -> None:
        self.version = 0
        self.vips: dict[bytes, int] = {}
        self._endpoints: dict[tuple[int, bytes, int], Service] = {}
        self._marks: dict[tuple[int, int], Service] = {}
        self._departed: dict[ServiceKey, dict[tuple[bytes, int], RealServer]] = {}
        self._any_port = 0
        self._ftp = 0

    def __iter__(self) -> Iterator[Service]:
        yield from self._endpoints.values()
        yield from self._marks.values()

    def __len__(self) -> int:
        return len(self._endpoints) + len(self._marks)

    def departed(self) -> Iterator[RealServer]:
        """Yield the removed servers that still have connections, those of removed services too."""
        for service in self:
            yield from service.departed.values()
        for kept in self._departed.values():
            yield from kept.values()

    def get(self, key: ServiceKey) -> Service:
        """Return the service with this key. Raise ControlError if there is none."""
        service = (
            self._marks.get((key.fwmark, key.family))
            if key.fwmark
            else self._endpoints.get((key.protocol, key.vip, key.vport))
        )
        if service is None:
            raise ControlError("No such service")
        return service

    def add(self, service: Service) -> None:
        """Take in a service, with the servers that an earlier one of the same key left.

        Raise ControlError if its key is taken.
        """
        self._insert(service)
        service.departed = self._departed.pop(service.key, {})
        for server in service.departed.values():
            service.share = server.service.share  # all have one, which counts what they left
        self.version += 1

    def _insert(self, service: Service) -> None:
        key = service.key
        if key.fwmark:
            if (key.fwmark, key.family) in self._marks:
                raise ControlError("Service already exists")
            self._marks[key.fwmark, key.family] = service
            return
        endpoint = key.protocol, key.vip, key.vport
        if endpoint in self._endpoints:
            raise ControlError("Service already exists")
        self._endpoints[endpoint] = service
        self._count(key, 1)

    def remove(self, key: ServiceKey) -> Service:
        """Remove and return the service with this key. Raise ControlError if there is none."""
        service = self.get(key)
        if key.fwmark:
            del self._marks[key.fwmark, key.family]
        else:
            del self._endpoints[key.protocol, key.vip, key.vport]
            self._count(key, -1)
        service.remove_all()
        service.share.reserved = 0
        self.version += 1
        self._departed = {key: kept for key, kept in self._departed.items() if kept}
        if service.departed:
            self._departed[service.key] = service.departed
        return service

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
