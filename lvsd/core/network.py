"""What the core knows of the host that it is on."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Network:
    """The host's links and addresses; somebody who can ask the kernel keeps them true.

    link_mtus        interface index -> MTU in bytes
    local_addresses  the host's own, packed; None: every VIP is taken for one of them
    tunnel_ports     the UDP ports that our GUE tunnels go to
    """

    link_mtus: dict[int, int] = field(default_factory=dict)
    local_addresses: frozenset[bytes] | None = None
    tunnel_ports: frozenset[int] = frozenset()

    def has(self, address: bytes) -> bool:
        """Whether an address is the host's own."""
        return self.local_addresses is None or address in self.local_addresses
