"""Read and write sysctls of this network namespace, named as for sysctl(8).

Only names below ``net`` exist here: a name may come out of a file, and the path made of it is
written to as root.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

FORWARDING: Final = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
"""The switch of the kernel's forwarding, by IP version."""

RESERVED_PORTS: Final = "net.ipv4.ip_local_reserved_ports"
"""Local ports that the kernel gives to nobody who did not ask for them; IPv6's as well."""

_SYSCTLS: Final = Path("/proc/sys")

# sysctl(8) exchanges "." and "/": net.ipv4.conf.eth0/100.rp_filter is about eth0.100.
_EXCHANGED: Final = str.maketrans("./", "/.")

_FOLLOWERS: Final = {
    "net.ipv4.ip_forward": ("net/ipv4/conf/*/forwarding", "net/ipv4/conf/all/accept_redirects"),
    "net.ipv6.conf.all.forwarding": ("net/ipv6/conf/*/forwarding",),
}
"""Sysctls that the kernel sets along with another one (inet_forward_change in devinet.c,
addrconf_forward_change in addrconf.c)."""

_ACCEPT_RA_OF_HOSTS: Final = "1"
ACCEPT_RA_OF_ROUTERS: Final = "2"
"""accept_ra: take router advertisements also while forwarding."""


def check(name: str) -> None:
    """Raise ValueError unless ``name`` is a sysctl's below net."""
    top, *parts = name.translate(_EXCHANGED).split("/")
    if top != "net" or not parts or "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError(f'"{name}" is no sysctl below net')


def exists(name: str) -> bool:
    """Return whether this kernel has the sysctl. Raise ValueError for a name that cannot be."""
    return _path(name).exists()


def read(name: str) -> str:
    """Return a sysctl's value, white space made single. Raise OSError, or ValueError."""
    return " ".join(_path(name).read_text(encoding="ascii").split())


def write(name: str, value: str) -> None:
    """Set a sysctl. Raise OSError, or ValueError for a name that cannot be."""
    _path(name).write_text(f"{value}\n", encoding="ascii")


def of_interface(interface: str, key: str) -> str:
    """Return the name of an interface's IPv4 setting; ``all`` and ``default`` are interfaces."""
    return f"net.ipv4.conf.{interface.translate(_EXCHANGED)}.{key}"


def of_interfaces(key: str) -> dict[str, str]:
    """Return interface -> value of an IPv4 setting, with ``all`` and ``default``."""
    found = {}
    for path in sorted(_SYSCTLS.glob(f"net/ipv4/conf/*/{key}")):
        with suppress(FileNotFoundError):  # the interface went away meanwhile
            found[path.parent.name] = read(_name(path))
    return found


def followers(name: str) -> dict[str, str]:
    """Return the sysctls, with their values, that the kernel sets when this one is set."""
    return {
        _name(path): read(_name(path))
        for pattern in _FOLLOWERS.get(name, ())
        for path in sorted(_SYSCTLS.glob(pattern))
    }


def deaf_once_forwarding() -> list[str]:
    """Return the accept_ra of each interface that a router must set to 2 to hear what it hears now.

    With 1 an interface accepts router advertisements only while it does not forward
    (ipv6_accept_ra in addrconf.c); an interface that forwards already hears none, and shall not
    begin to. ``default`` is among them, for the interfaces to come; ``all`` means nothing here.
    """
    found = []
    for path in sorted(_SYSCTLS.glob("net/ipv6/conf/*/accept_ra")):
        if path.parent.name == "all":
            continue
        accept_ra, forwarding = _name(path), _name(path.with_name("forwarding"))
        try:
            if (read(accept_ra), read(forwarding)) == (_ACCEPT_RA_OF_HOSTS, "0"):
                found.append(accept_ra)
        except FileNotFoundError:  # the interface went away meanwhile
            continue
    return found


def _path(name: str) -> Path:
    check(name)
    return _SYSCTLS / name.translate(_EXCHANGED)


def _name(path: Path) -> str:
    return str(path.relative_to(_SYSCTLS)).translate(_EXCHANGED)
