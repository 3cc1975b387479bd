"""The lvsd.toml that the lab and the demo write: meant to be read."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tomli

import schedulers
from lvsd.errors import UsageError
from lvsd.packet.address import endpoint, pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FORGETS = "hold_s = 0  # a stop forgets all connections"


@dataclass(frozen=True, slots=True)
class RealServer:
    """One ``[[service.server]]``; ``address`` as text, with its port.

    What is None is left to the service.
    """

    address: str
    weight: int = 1
    forward: str | None = None
    tunnel: str | None = None
    tunnel_port: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One ``[[service]]``; ``address`` as text, with its port.

    What is None or empty is not written: the daemon's default holds.
    """

    name: str
    address: str
    servers: tuple[RealServer, ...]
    scheduler: str = "wlc"
    flags: tuple[str, ...] = ()
    protocol: str = "tcp"
    forward: str = "nat"
    tunnel: str | None = None
    tunnel_port: int | None = None
    mss_clamp: bool | None = None
    local_addresses: tuple[str, ...] = ()
    client_address: str | None = None


def at(address: str, port: int) -> str:
    """Return ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    return endpoint(pack(address), port)


def check_scheduler(name: str) -> None:
    """Raise UsageError, which says what there is, where there is no scheduler of this name."""
    if name not in schedulers.names():
        raise UsageError(f"no scheduler {name!r}; there are: {', '.join(schedulers.names())}")


def toml(services: Sequence[Service], control: Path) -> str:
    """Return the text of an lvsd.toml, with the reason beside each line that needs one."""
    head = ["[daemon]", f"control = {_quoted(str(control))}", _FORGETS]
    return "\n".join([*head, *(line for service in services for line in _service(service)), ""])


def completed(text: str, control: Path) -> tuple[str, Path]:
    """Return a configuration for a host of the lab, and where its control socket is.

    Unless the text says otherwise, that is ``control``, and a stop forgets all connections, so that
    the next lvsd in the same host begins as the first one did.
    """
    try:
        said = {**tomli.loads(text).get("daemon", {})}
    except (tomli.TOMLDecodeError, AttributeError, TypeError):
        return text, control  # what is wrong with it is for the daemon to say
    usual = {"control": f"control = {_quoted(str(control))}", "hold_s": "hold_s = 0"}
    lines = "".join(f"{line}\n" for word, line in usual.items() if word not in said)
    written, found = re.subn(r"(?m)^\[daemon\][^\n]*\n?", rf"[daemon]\n{lines}", text, count=1)
    place = control.parent / str(said.get("control", control))
    return written if found else f"[daemon]\n{lines}\n{text}", place


def _service(service: Service) -> list[str]:
    lines = [
        "",
        "[[service]]",
        f"name = {_quoted(service.name)}",
        f"address = {_quoted(service.address)}",
        f"protocol = {_quoted(service.protocol)}",
        f"scheduler = {_quoted(service.scheduler)}",
        *_written(scheduler_flags=service.flags, forward=service.forward),
        *_written(
            tunnel=service.tunnel,
            tunnel_port=service.tunnel_port,
            mss_clamp=service.mss_clamp,
            local_addresses=service.local_addresses,
            client_address=service.client_address,
        ),
    ]
    for server in service.servers:
        keys = _written(
            address=server.address,
            weight=server.weight,
            forward=server.forward,
            tunnel=server.tunnel,
            tunnel_port=server.tunnel_port,
        )
        lines += ["", "  [[service.server]]", *(f"  {key}" for key in keys)]
    return lines


def _written(**keys: str | float | tuple[str, ...] | None) -> list[str]:
    """Return a line for each key that has a value; False and 0 are values."""
    # JSON of strings of these characters, numbers, booleans and lists of them is TOML.
    return [
        f"{key} = {json.dumps(value)}" for key, value in keys.items() if value not in {None, ()}
    ]


def _quoted(text: str) -> str:
    return json.dumps(text)
