"""The lab: a client, a director and real servers on one machine, and nothing left of it after.

::

    with Lab(servers=3) as lab:
        lab.client.run(["ping", "-c1", lab.director.addresses.v4])

    with Lab(ways=("dr", "tun")) as lab:
        lab.router.run(["ip", "route", "show"])
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.errors import KernelError, PrivilegeError
from lvsd.lab import build, plan, processes, registry
from lvsd.lab.namespace import Namespace
from lvsd.net import namespaces
from lvsd.signals import deferred, unwinding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

MAX_PLACE_BYTES: Final = 48
"""A socket's path has 107 bytes (unix(7)); the lab's own part of it has less than 59."""

PLAIN: Final = re.compile(r"[\w/.+-]+", re.ASCII)


class Lab:
    """Network namespaces for a client, a director and ``servers`` real servers.

    ``name`` begins the names of the namespaces, together with the process id, so that several
    labs live side by side with the same addresses. ``mtu`` is in bytes, on every link;
    ``far_mtu`` on those of the far network. ``ways`` gives the lab a real server per entry, each
    reached in that way: nat, dr, tun or fullnat; without it all are NAT's. See `lvsd.lab.plan`
    for the addresses and routes, `lvsd.lab.real_server` for what DR and TUN need besides.

    Everything is removed at the end of the block: also after an exception, Ctrl-C, SIGTERM and
    SIGHUP. After SIGKILL, `lvsd.lab.registry.remove_leftovers` does it.

    Raises PrivilegeError without root, KernelError where the machine lacks something.
    """

    def __init__(
        self,
        name: str = "lvsd",
        servers: int = 3,
        mtu: int = 1500,
        *,
        ways: Sequence[str] | None = None,
        far_mtu: int | None = None,
    ) -> None:
        self.topology = plan.nat(servers, mtu) if ways is None else plan.modes(ways, mtu, far_mtu)
        self.vip = self.topology.vip
        self.local_addresses = self.topology.local_addresses
        self._prefix = name
        self._entry: registry.Entry | None = None
        self._registration: registry.Registration | None = None
        self._signals = contextlib.ExitStack()
        self._namespaces: dict[str, Namespace] = {}

    def __enter__(self) -> Self:
        _check_machine()
        _check_place()
        atexit.register(self.close)
        self._signals.enter_context(unwinding())
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What the names of all namespaces begin with, such as ``lvsd-4711``."""
        return self._made.name

    @property
    def directory(self) -> Path:
        """The lab's temporary directory."""
        return Path(self._made.directory)

    def host(self, name: str) -> Namespace:
        """Return a host by its name in the plan. Raise LookupError if there is no such host."""
        return self._namespaces[name]

    @property
    def client(self) -> Namespace:
        """The host that sends requests."""
        return self._namespaces["client"]

    @property
    def director(self) -> Namespace:
        """The host that balances; its interfaces are ``front`` and ``back``."""
        return self._namespaces["director"]

    @property
    def router(self) -> Namespace:
        """The host with a leg in every network. Raise LookupError in a lab of NAT alone."""
        return self._namespaces["router"]

    @property
    def servers(self) -> list[Namespace]:
        """The real servers, in the order of their addresses."""
        return [space for host, space in self._namespaces.items() if host.startswith("server")]

    @property
    def hosts(self) -> list[Namespace]:
        """All but the switch, in the order of the plan: client, director, router, servers."""
        return [self._namespaces[node.name] for node in self.topology.nodes]

    def map(self) -> dict[str, Any]:
        """Return names and addresses, ready for JSON."""
        return {
            "name": self.name,
            "vip": {"v4": self.vip.v4, "v6": self.vip.v6},
            "hosts": {
                space.host: {
                    "namespace": space.name,
                    **({"way": node.way} if node.way else {}),
                    "interfaces": {
                        link.interface: [[pair.v4, pair.v6] for pair in link.addresses]
                        for link in node.links
                    },
                }
                for space, node in zip(self.hosts, self.topology.nodes, strict=True)
            },
        }

    def close(self) -> None:
        """Remove the lab; signals wait until that is done. A second call does nothing."""
        try:
            with deferred():
                self._remove()
        finally:
            self._signals.close()

    def _remove(self) -> None:
        atexit.unregister(self.close)
        spaces, self._namespaces = self._namespaces, {}
        processes.end(process for space in spaces.values() for process in space.processes)
        if self._entry is not None and self._registration is not None:
            registry.remove(self._entry)
            self._registration.release()
        self._entry = self._registration = None

    def _build(self) -> None:
        hosts = build.names(self.topology)
        with deferred():
            registration = self._registration = registry.register(self._prefix)
            directory = Path(tempfile.mkdtemp(prefix=f"{registration.name}-"))
            full_names = {host: f"{registration.name}-{host}" for host in hosts}
            self._entry = registry.Entry(
                registration.name, tuple(full_names.values()), str(directory)
            )
            registration.record(self._entry)
        for full_name in full_names.values():
            namespaces.add(full_name)
        nodes = {node.name: node for node in self.topology.nodes}
        for host, full_name in full_names.items():
            (directory / host).mkdir()
            self._namespaces[host] = Namespace(full_name, directory / host, nodes.get(host))
        build.build(self.topology, self._namespaces)

    @property
    def _made(self) -> registry.Entry:
        if self._entry is None:
            raise RuntimeError("the lab stands only inside its with block")
        return self._entry


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise PrivilegeError(
            "build the lab", "network namespaces need root", "run it as root, e.g. with sudo"
        )


def _check_place() -> None:
    """Raise KernelError where the lab's sockets and nginx's configuration cannot be."""
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) > MAX_PLACE_BYTES or PLAIN.fullmatch(place) is None:
        raise KernelError(
            "build the lab",
            f"its files cannot be in {place!r}: the path is too long or has special characters",
            "set TMPDIR to a plain folder, such as /tmp",
        )
