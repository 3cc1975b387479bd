"""The commands that do by hand what `lvsd.realserver.up` does, and those that undo it."""

from __future__ import annotations

import errno
import os
import shlex
from itertools import chain
from typing import TYPE_CHECKING

from lvsd.errors import KernelError
from lvsd.io import nft, sysctls
from lvsd.packet.address import text
from lvsd.realserver import kernel_devices, mss, quiet
from lvsd.realserver.ends import ends
from lvsd.realserver.host import look
from lvsd.realserver.tun_device import ADDRESS, SYSCTLS

if TYPE_CHECKING:
    from lvsd.net.links import Link
    from lvsd.realserver.kernel_devices import Device
    from lvsd.realserver.settings import Settings


def script(settings: Settings) -> str:
    """Return a shell script that does what is left to do; comments at its end say what undoes it.

    Raise KernelError, OSError.
    """
    doing, undoing, notes = commands(settings)
    lines = [*(f"# {note}" for note in notes), *(doing or ["# there is nothing left to do"])]
    if undoing:
        lines += ["# to undo it:", *(f"#   {line}" for line in undoing)]
    return "".join(f"{line}\n" for line in lines)


def commands(settings: Settings) -> tuple[list[str], list[str], list[str]]:
    """Return the commands that do it, those that undo it, and what no command does."""
    doing, undoing = [], []
    host = look()
    if settings.interface not in host.links:
        absent = OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        raise KernelError(f"look at interface {settings.interface}", absent, "see `ip link`")
    for sysctl in quiet.arp():
        doing.append(f"sysctl -w {sysctl.name}={sysctl.value}")
        undoing.append(f"sysctl -w {sysctl.name}={sysctls.read(sysctl.name)}")
    wanted = ends(settings)
    devices = [kernel_devices.devices(end, settings.directors) for end in wanted]
    for device in dict.fromkeys(chain.from_iterable(devices)):
        made, unmade = _device(device, host.links.get(device.name))
        doing += made
        undoing += unmade
    made, unmade = _table(mss.wanted(settings))
    doing += made
    undoing += unmade
    for vip in settings.vips:
        if settings.interface in host.places(vip):
            continue
        place = f"{text(vip)}/{8 * len(vip)} dev {settings.interface}"
        doing.append(f"ip address add {place}{' nodad' if len(vip) == 16 else ''}")
        undoing.append(f"ip address delete {place}")
    notes = [
        f"{end}: by hand only with a device of your own; `lvsd realserver up` receives it itself"
        for end in wanted
        if not kernel_devices.devices(end)
    ]
    return doing, undoing[::-1], notes


def _device(device: Device, there: Link | None) -> tuple[list[str], list[str]]:
    name = device.name
    if device.built_in:
        if there is not None and there.kind == device.kind and there.is_up:
            return [], []
        return [f"modprobe {device.kind}", f"ip link set {name} up"], [f"ip link set {name} down"]
    if there is not None and there.kind == device.kind:
        return [], []
    settings = [f"sysctl -w net.{family}.conf.{name}.{key}={to}" for family, key, to in SYSCTLS]
    return [
        f"ip link add {name} type {device.kind} {device.words}",
        *settings,
        f"ip address add {text(ADDRESS)}/32 dev {name} scope host",
        f"ip link set {name} up",
    ], [f"ip link delete {name}"]


def _table(limits: dict[bytes, int]) -> tuple[list[str], list[str]]:
    if not limits or mss.in_force() == limits:
        return [], []
    gone = f"delete table inet {mss.TABLE}"
    lines = [*([] if nft.listed(mss.TABLE) is None else [gone]), *mss.commands(limits)]
    return [f"nft {shlex.quote(line)}" for line in lines], [f"nft {shlex.quote(gone)}"]
