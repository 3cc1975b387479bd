"""What a real server has, and what it lacks, each with the command that fixes it."""

from __future__ import annotations

import json
import os
import shlex
import socket
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from lvsd.errors import KernelError
from lvsd.io import nft, sysctls
from lvsd.io.journal import Journal, journal_path
from lvsd.packet.address import text
from lvsd.realserver import mss, quiet
from lvsd.realserver.decapsulation import Carrier
from lvsd.realserver.ends import TunnelEnd, ends
from lvsd.realserver.host import look as look_at_host
from lvsd.realserver.kernel_devices import devices
from lvsd.realserver.settings import Settings
from lvsd.realserver.tun_device import NAME
from lvsd.realserver.up import counts_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lvsd.realserver.host import Host

NOT_GOOD: Final = 1
"""The exit status when something is missing or different."""

_AGAIN: Final = "lvsd realserver up ..."
_CONNECT_S: Final = 1.0
_STRICT: Final = "1"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``remedy`` is the command that fixes it, if it is wrong."""

    good: bool
    what: str
    remedy: str = ""


def status(
    directory: Path,
    asked: Settings | None,
    say: Callable[[str], None],
    *,
    port: int | None = None,
    as_json: bool = False,
) -> int:
    """Say how this real server is; return 0 when all is good and 1 when not.

    ``asked``: what it should be; None: what the last `up` said. ``port``: also look whether
    somebody accepts TCP connections there. Raise KernelError, PrivilegeError.
    """
    path = journal_path(directory)
    journal = Journal.read(path)
    settings = asked or _recorded(journal, path)
    if settings is None:
        findings = [Finding(good=False, what="nothing is up", remedy=_AGAIN)]
    else:
        serving = journal is not None and journal.writer_lives()
        findings = list(look(settings, serving=serving, port=port))
    good = all(finding.good for finding in findings)
    counts = _counts(counts_path(path))
    if as_json:
        report = {
            "good": good,
            "settings": settings.json() if settings else None,
            "findings": [asdict(finding) for finding in findings],
            "counts": counts,
        }
        say(json.dumps(report, indent=2))
        return os.EX_OK if good else NOT_GOOD
    for finding in findings:
        remedy = f"; fix it with `{finding.remedy}`" if finding.remedy else ""
        say(f"{'good ' if finding.good else 'WRONG'}  {finding.what}{remedy}")
    if counts:
        say("packets: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    return os.EX_OK if good else NOT_GOOD


def look(settings: Settings, *, serving: bool, port: int | None = None) -> Iterator[Finding]:
    """Yield what is found. ``serving``: the program that takes outer headers off is running."""
    host = look_at_host()
    yield from _virtual_addresses(settings, host)
    if any(len(vip) == 4 for vip in settings.vips):
        yield from _arp()
    for end in ends(settings):
        yield from _tunnel(end, settings, host, serving=serving)
    yield from _mss(settings)
    if port is not None:
        for vip in settings.vips:
            yield _listens(vip, port)


def _virtual_addresses(settings: Settings, host: Host) -> Iterator[Finding]:
    for vip in settings.vips:
        prefix = f"{text(vip)}/{8 * len(vip)}"
        places = host.places(vip)
        if settings.interface in places:
            yield Finding(good=True, what=f"{text(vip)} is on {settings.interface}")
        else:
            what = f"{text(vip)} is missing on {settings.interface}"
            yield Finding(
                good=False, what=what, remedy=f"ip address add {prefix} dev {settings.interface}"
            )
        for other in sorted(places - {settings.interface}):
            what = f"{text(vip)} is on {other} as well, which answers for it"
            remedy = f"ip address delete {prefix} dev {other}"
            yield Finding(good=False, what=what, remedy=remedy)


def _arp() -> Iterator[Finding]:
    found = quiet.talkative()
    for interface, key, value in found:
        # With too low a value `all` lacks it; with another one the interface has it wrong.
        at = "all" if int(value) < int(quiet.WANTED[key]) else interface
        name = sysctls.of_interface(at, key)
        yield Finding(
            good=False,
            what=f"{key} of {interface} is {value} in force, not {quiet.WANTED[key]}",
            remedy=f"sysctl -w {name}={quiet.WANTED[key]}",
        )
    if not found:
        yield Finding(good=True, what="no interface speaks of the virtual addresses by ARP")


def _tunnel(end: TunnelEnd, settings: Settings, host: Host, *, serving: bool) -> Iterator[Finding]:
    receivers = _receivers(end, settings, host, serving=serving)
    if not receivers:
        yield Finding(good=False, what=f"nobody receives {end}", remedy=_AGAIN)
        return
    yield Finding(good=True, what=f"{', '.join(receivers)} receives {end}")
    if end.carrier == Carrier.IPV6 or not any(len(vip) == 4 for vip in settings.vips):
        return
    values = sysctls.of_interfaces("rp_filter")
    for receiver in receivers:
        in_force = quiet.effective(values.get("all", "0"), values.get(receiver, "0"))
        if in_force == _STRICT:
            what = f"rp_filter of {receiver} is strict: it drops what clients send"
            name = sysctls.of_interface(receiver, "rp_filter")
            yield Finding(good=False, what=what, remedy=f"sysctl -w {name}=2")


def _mss(settings: Settings) -> Iterator[Finding]:
    limits = mss.wanted(settings)
    found = mss.in_force() if limits else {}
    script = "; ".join((*nft.gone(mss.TABLE), *mss.commands(limits)))
    for vip, size in limits.items():
        if found.get(vip) == size:
            yield Finding(good=True, what=f"the MSS of SYNs from {text(vip)} is {size} at most")
        else:
            at_most = f"{found[vip]} at most" if vip in found else "not limited"
            what = f"the MSS of SYNs from {text(vip)} is {at_most}, it should be {size}"
            yield Finding(good=False, what=what, remedy=f"nft {shlex.quote(script)}")


def _receivers(end: TunnelEnd, settings: Settings, host: Host, *, serving: bool) -> list[str]:
    """Return the interfaces that a tunnel's packets come from, none when any is lacking."""
    wanted = devices(end, settings.directors)
    up = {link.name: link.kind for link in host.links.values() if link.is_up}
    if wanted and all(up.get(device.name) == device.kind for device in wanted):
        return [device.name for device in wanted]
    return [NAME] if serving and NAME in up else []


def _listens(vip: bytes, port: int) -> Finding:
    where = f"{text(vip)} port {port}"
    try:
        socket.create_connection((text(vip), port), _CONNECT_S).close()
    except OSError as error:
        what = f"nobody accepts TCP connections to {where}: {error.strerror or error}"
        return Finding(good=False, what=what, remedy=f"ss -ltnp sport = :{port}")
    return Finding(good=True, what=f"somebody accepts TCP connections to {where}")


def _recorded(journal: Journal | None, path: Path) -> Settings | None:
    """Return what the last `up` said. Raise KernelError."""
    if journal is None:
        return None
    try:
        return Settings.from_json(journal.settings)
    except (KeyError, TypeError, ValueError) as error:
        remedy = "run `lvsd realserver down`, and `up` again"
        raise KernelError(
            f"read the journal {path}", f"settings that cannot be: {error}", remedy
        ) from error


def _counts(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
