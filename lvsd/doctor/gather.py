"""Gather a snapshot: from the daemon, from the kernel, and off the wire."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lvsd.config.load import check
from lvsd.control.client import ControlClient, default_path
from lvsd.doctor import questions
from lvsd.doctor.services import configured, running
from lvsd.doctor.snapshot import Answers, Chain, Daemon, Machine, Service, Snapshot
from lvsd.doctor.wire import PATIENCE_S, Wire
from lvsd.errors import ControlError, KernelError, UsageError
from lvsd.io import leftovers, sysctls
from lvsd.io.guard import GUARD, HOLD
from lvsd.io.queue_statistics import queues
from lvsd.io.ruleset import DRAFT, TABLE
from lvsd.net import addresses, links, ways
from lvsd.net.kernel import talking
from lvsd.packet.address import pack, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lvsd.control.protocol import ConnectionEntry
    from lvsd.doctor.snapshot import Question

_NETSTAT: Final = Path("/proc/net/netstat")
_OUR_NAMESPACE: Final = Path("/proc/thread-self/ns/net")
_NFT_TIMEOUT_S: Final = 10.0
_LISTABLE: Final = 20_000
_ASKED: Final = 100
"""Entries of a table, and clients, that are looked through at most."""
_HOOKS: Final = ("forward", "output")
_OWN_TABLES = {TABLE, GUARD, HOLD, DRAFT}
_FAMILIES: Final = ("ip", "ip6", "inet")


def gather(config: Path | None, control: Path | None, patience_s: float = PATIENCE_S) -> Snapshot:
    """Return everything that can be known, within three times ``patience_s`` or little more.

    The services are the running daemon's; without one the configuration's. Without ``control``
    the daemon is asked where ``config`` says, and without both where lvsadm would ask. Raise
    UsageError when there is neither a daemon nor a configuration, or when the daemon is in another
    network namespace, of which nothing can be seen here; KernelError, PrivilegeError.
    """
    faults: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    place = control or default_path()
    if config is not None:
        read, problems = check(config)
        faults = tuple(str(problem) for problem in problems)
        if read is not None:
            services = configured(read)
            place = control or read.daemon.control
    daemon, silence = None, ""
    try:
        pid, daemon, services = _ask(place, services)
    except ControlError as error:
        silence = str(error)
        if config is None:
            raise UsageError(f"{silence}; or say which configuration with -c FILE") from error
    else:
        if _is_elsewhere(pid):
            where = ["-c", str(config)] if config else ["--control", str(place)]
            again = shlex.join(["nsenter", "-t", str(pid), "-n", "lvsd", "doctor", *where])
            raise UsageError(f"lvsd (pid {pid}) runs in another network namespace: use `{again}`")
    begin = time.monotonic()
    asked = Snapshot(
        services, daemon, _machine(services), Answers(), faults, silence, str(config or "")
    )
    asked = replace(asked, machine=replace(asked.machine, client_ways=_client_ways(asked, place)))
    found = _with_answers(asked, patience_s)
    if daemon is None:
        return found
    return replace(found, daemon=_later(place, daemon, time.monotonic() - begin))


def _later(place: Path, before: Daemon, seconds: float) -> Daemon:
    """Return what the daemon says now, so many seconds later; the same if it is gone."""
    try:
        with ControlClient(place) as client:
            status = client.call("status")
    except ControlError:
        return before
    return Daemon(status["drops"], status["groups"], before.groups, seconds)


def _ask(place: Path, known: tuple[Service, ...]) -> tuple[int, Daemon, tuple[Service, ...]]:
    """Return the daemon's pid, what it says of itself, and its services. Raise ControlError."""
    with ControlClient(place) as client:
        pid = client.daemon_pid
        status = client.call("status")
        services = running(client.items("list"), known)
    return pid, Daemon(status["drops"], status["groups"]), services


def _is_elsewhere(pid: int) -> bool:
    """Whether a process is in another network namespace; False where that cannot be seen."""
    try:
        theirs = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        return False
    return not os.path.samestat(theirs, _OUR_NAMESPACE.stat())


def _client_ways(snapshot: Snapshot, place: Path) -> dict[bytes, str]:
    """Return where the ways back to clients lead, if rp_filter may be dropping their requests.

    Not from a large table, which would take the daemon and us too long to list.
    """
    daemon = snapshot.daemon
    servers = [each for each in snapshot.servers("nat") if len(each.address) == 4]
    silent = {text(each.address) for each in servers if each.is_silent}
    if daemon is None or not (silent and snapshot.machine.rp_filter_drops):
        return {}
    if daemon.count("table", "entries") > _LISTABLE:
        return {}
    try:
        with ControlClient(place) as client:
            entries: Iterator[ConnectionEntry] = client.items("connections")
            clients = {pack(each["client"]) for each in entries if each["server"] in silent}
    except ControlError:
        return {}
    with talking() as kernel:
        found = ways.ask(kernel, sorted(clients)[:_ASKED])
    return {address: way.name for address, way in found.items() if way}


def _machine(services: Iterable[Service]) -> Machine:
    servers = {server.address for service in services for server in service.servers}
    with talking() as kernel:
        there = links.every(kernel)
        own = addresses.every(kernel)
        found = ways.ask(kernel, servers)
    names = {link.index: link.name for link in there}
    places: dict[bytes, frozenset[str]] = {}
    for each in own:
        if each.interface in names:
            places[each.address] = places.get(each.address, frozenset()) | {names[each.interface]}
    return Machine(
        addresses=places,
        interfaces=frozenset(names.values()),
        macs={link.name: link.mac for link in there if link.is_ethernet},
        ways=found,
        sources={address: way and way.source for address, way in found.items()},
        forwarding={
            family: sysctls.read(name) != "0"
            for family, name in sysctls.FORWARDING.items()
            if sysctls.exists(name)
        },
        forwarding_off=frozenset(
            name for name, value in sysctls.of_interfaces("forwarding").items() if value == "0"
        ),
        rp_filter=_in_force("rp_filter"),
        accept_local=frozenset(name for name, value in _in_force("accept_local").items() if value),
        rp_filter_drops=_rp_filter_drops(),
        tables=tuple(leftovers.standing()),
        queue_is_read=_queue_is_read(),
        chains=tuple(_dropping_chains()),
    )


def _in_force(key: str) -> dict[str, int]:
    """Return interface -> value of an IPv4 setting; ``all`` counts where it is greater.

    So for rp_filter (IN_DEV_MAXCONF) and, of 0 and 1, for accept_local (IN_DEV_ORCONF).
    """
    values = {name: int(value) for name, value in sysctls.of_interfaces(key).items()}
    least = values.pop("all", 0)
    return {name: max(value, least) for name, value in values.items() if name != "default"}


def _rp_filter_drops() -> int:
    """Return TcpExt's IPReversePathFilter, 0 where the kernel does not tell."""
    lines = [line.split() for line in _NETSTAT.read_text(encoding="ascii").splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if "IPReversePathFilter" in names:
            return int(values[names.index("IPReversePathFilter")])
    return 0


def _queue_is_read() -> bool:
    try:
        return bool(queues())
    except KernelError:  # it has no NFQUEUE, unless as a module that nobody has loaded yet
        return False


def _dropping_chains() -> Iterator[Chain]:
    """Yield the chains of others that drop what they do not accept; none where nft is not there."""
    for chain in _nft("list", "chains"):
        family, table, name = chain["family"], chain["table"], chain["name"]
        if chain.get("policy") != "drop" or chain.get("hook") not in _HOOKS:
            continue
        if family not in _FAMILIES or (family == "inet" and table in _OWN_TABLES):
            continue
        rules = json.dumps(list(_nft("list", "chain", family, table, name, kind="rule")))
        yield Chain(family, table, name, chain["hook"], '"untracked"' in rules)


def _nft(*words: str, kind: str = "chain") -> Iterator[dict[str, Any]]:
    """Yield the objects of a kind that an nft command lists; none when it fails."""
    try:
        listed = subprocess.run(
            ["nft", "-j", *words],
            capture_output=True,
            check=True,
            text=True,
            timeout=_NFT_TIMEOUT_S,
        ).stdout
        objects = json.loads(listed)["nftables"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return
    yield from (each[kind] for each in objects if kind in each)


def _with_answers(snapshot: Snapshot, patience_s: float) -> Snapshot:
    """Ask who is where, then everything else, then how long a packet may be where that is open."""
    machine = snapshot.machine
    with Wire(machine.macs, patience_s) as wire:
        found = wire.exchange(list(questions.next_hops(snapshot)), [])
        places = {
            ask.address: (ask.interface, min(macs)) for ask, macs in found.macs.items() if macs
        }
        owners = list(questions.owners(snapshot))
        asked: list[Question] = [*questions.echoes(snapshot), *questions.syns(snapshot)]
        answers = wire.exchange(owners, asked, places, quiet=questions.quiet(snapshot))
        answers = _joined(found, answers)
        steps = [
            step
            for server in snapshot.servers()
            if answers.replied(questions.plain(machine, server))
            and questions.full_size(machine, server) not in answers.echoes
            for step in questions.ladder(machine, server)
        ]
        if steps:
            answers = _joined(answers, wire.exchange([], steps))
    return replace(snapshot, answers=answers)


def _joined(one: Answers, other: Answers) -> Answers:
    return Answers(
        {**one.macs, **other.macs},
        {**one.echoes, **other.echoes},
        {**one.handshakes, **other.handshakes},
        one.unasked + other.unasked,
    )
