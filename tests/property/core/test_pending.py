"""Nobody can tell whether connections of the director before were taken in at once, or by need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.packet import Raw

from forwarders import Dr, Fullnat, Nat
from lvsd.core.commands import (
    Clear,
    Drain,
    KeepPorts,
    RemoveServer,
    SetHealth,
    SetSettings,
    Undrain,
)
from lvsd.core.local_pool import LocalPool
from lvsd.core.settings import Settings
from lvsd.core.timeouts import Timing
from lvsd.core.values import Health, ServiceKey
from lvsd.errors import ControlError
from lvsd.packet.address import pack
from lvsd.packet.numbers import TcpFlag
from tests.property.examples import examples
from tests.unit.core.kept import Slots, begin_to_resume, keep, write_the_rest
from tests.unit.core.test_resuming import answer_of
from tests.unit.core.world import World

if TYPE_CHECKING:
    from forwarders.base import Forwarder
    from lvsd.core.service import Service

LIP = pack("10.0.0.200")
WAYS: dict[str, Forwarder] = {"nat": Nat(), "dr": Dr(), "fullnat": Fullnat("none")}
CLIENTS, PORTS, VIPS, SERVERS = 3, 2, 2, 2

clients = st.tuples(st.integers(1, CLIENTS), st.integers(1, PORTS), st.integers(1, VIPS))
packets = st.tuples(
    st.sampled_from(["S", "A", "PA", "FA", "R", "reply", "FA reply", "icmp", "stray"]), clients
)
waits = st.tuples(st.just("wait"), st.sampled_from([1, 3, 11, 61, 130]))
commands = st.tuples(
    st.sampled_from(
        [
            *("drain", "drain at once", "undrain", "remove server", "add server", "weight 0"),
            *("up", "quiesced", "removed"),
            *("forward otherwise", "timing", "timeouts", "remove", "clear", "settings", "ports"),
        ]
    ),
    st.tuples(st.integers(1, VIPS), st.integers(1, SERVERS)),
)
opened = st.tuples(st.just("open"), clients)
before = st.lists(st.one_of(opened, opened, packets, waits), max_size=30)
after = st.lists(
    st.one_of(
        packets, packets, opened, waits, commands, st.just(("some",)), st.just(("list", None))
    ),
    max_size=20,
)
shapes = st.fixed_dictionaries(
    {
        "way": st.sampled_from(sorted(WAYS)),
        "persistence_s": st.sampled_from([0, 0, 30]),
        "scheduler": st.sampled_from(["rr", "wlc", "sed"]),
        "upper": st.sampled_from([0, 0, 3]),
    }
)


@dataclass
class Served(World):
    """A world whose real servers have a port."""

    rport: int = 8080


def world_of(way: str, persistence_s: int, scheduler: str, upper: int) -> Served:
    """Return a world with two services that have the same real servers."""
    world = Served(rport=8080 if WAYS[way].maps_port else 80)
    world.balancer.network.local_addresses = frozenset({LIP})
    forwarder = WAYS[way]
    options: dict[str, Any] = {"persistence_s": persistence_s, "scheduler": scheduler}
    if forwarder.per_connection:
        options["local"] = LocalPool((LIP,), 5000, 5009)
    for vip in range(1, VIPS + 1):
        service = world.serve(vip=vip, forwarder=forwarder, servers=0, **options)
        for number in range(1, SERVERS + 1):
            world.add_server(service, number, forwarder=forwarder, upper=upper)
    return world


def happen(world: Served, got: dict[Any, bytes], what: str, about: Any = None) -> object:
    """Let something happen to a world; return all that can be seen of it.

    ``got`` is what the servers got last, by client.
    """
    if what == "wait":
        world.wait(about)
        return _sent(world)
    if what == "list":
        return _listed(world)
    if len(about) == 2:
        try:
            return _change(world, what, *about)
        except ControlError as error:
            return str(error)
    if what == "open":
        return [happen(world, got, each, about) for each in "SA"]
    client, port, vip = about
    segment = world.from_client(client=client, cport=40000 + port, vip=vip)
    if what in {"S", "A", "PA", "FA", "R"}:
        payload = b"more" if what == "PA" else b""
        outcome, sent = world.handle(replace(segment, what=what, payload=payload)), _sent(world)
        came = outcome if isinstance(outcome, bytes) else sent[-1] if sent else got.get(about)
        got.update({about: came} if came else {})
        return outcome, sent
    if about not in got or what == "stray":
        return world.reply(world.to_server(segment).reversed), _sent(world)
    if what == "icmp":
        return world.handle(_unreachable(got[about])), _sent(world)
    flags = TcpFlag.ACK | (TcpFlag.FIN if what == "FA reply" else 0)
    return world.reply(answer_of(got[about], flags, 2000, 1, b"answer")), _sent(world)


def _sent(world: Served) -> list[bytes]:
    return [each.data for each in world.sent()]


def _unreachable(quoted: bytes) -> bytes:
    """Return what a router on the way to a real server says of a packet."""
    header = IP(src="10.0.0.99", dst=".".join(map(str, quoted[12:16])))
    return bytes(header / ICMP(type=3, code=1) / Raw(quoted))


def _change(world: Served, what: str, vip: int, number: int) -> object:
    """Have a service or a server changed. Raise ControlError where that cannot be."""
    key = ServiceKey(6, pack(world.vip(vip)), 80)
    place = key, pack(world.rip(number)), world.rport
    match what:
        case "clear":
            world.apply(Clear())
        case "timeouts":
            world.set_timeouts(tcp_s=50, tcp_fin_s=20)
        case "settings":
            world.apply(SetSettings(Settings(expire_nodest_conn=True, conn_reuse_mode=0)))
        case "ports":
            world.apply(KeepPorts(((5000, 5001),)))
        case "undrain":
            world.apply(Undrain(*place))
        case "up" | "quiesced" | "removed":
            world.apply(SetHealth(*place, Health(what)))
        case "drain" | "drain at once":
            world.apply(Drain(*place, 0 if what == "drain at once" else None))
        case _:
            _change_config(world, what, world.balancer.services.get(key), number)
    return world.drops()


def _change_config(world: Served, what: str, service: Service, number: int) -> None:
    if what == "remove":
        world.remove(service)
    elif what == "timing":
        world.edit(service, timing=Timing(tcp_s=40), persistence_s=service.config.persistence_s)
    elif what == "add server":
        world.add_server(service, number, forwarder=Nat())
    else:
        server = service.find(pack(world.rip(number)), world.rport)
        if what == "remove server":
            world.apply(RemoveServer(service.key, server.address, server.port))
        elif what == "weight 0":
            world.edit_server(server, weight=0)
        else:
            world.edit_server(server, forwarder=Fullnat("none"))


def _listed(world: Served) -> list[str]:
    return sorted(map(repr, world.balancer.connections()))


def counted(world: Served) -> object:
    """Return all that is counted, and does not show who was taken in already."""
    flows = world.balancer.flows
    table = flows.table
    return [
        (table.count, table.template_count, world.drops(), flows.admission.room()),
        [
            (
                service.key,
                service.share.entries,
                [
                    (each.address, each.active, each.total, each.overloaded, each.weight)
                    for each in (*service.servers, *service.removed.values())
                ],
            )
            for service in world.balancer.services
        ],
        sorted(
            (free.towards, free.given) for free in world.balancer.flows.local_ports.free.values()
        ),
    ]


@given(shapes, before, after, st.data())
@examples(300)
def test_whenever_connections_are_taken_in_the_same_comes_of_what_happens_then(
    shape: dict[str, Any], happened: list[Any], happens: list[Any], data: st.DataObject
) -> None:
    slots, first = Slots(), world_of(**shape)
    keeper = keep(first, slots)
    got: dict[Any, bytes] = {}
    for each in happened:
        happen(first, got, *each)
    write_the_rest(keeper)
    worlds, others = [world_of(**shape), world_of(**shape)], [slots, Slots()]
    others[1].buffer[:], others[1].free = slots.buffer, slots.free.copy()
    resumptions = []
    for world, its in zip(worlds, others, strict=True):
        world.now = first.now + 1
        resumptions.append(begin_to_resume(world, its)[0])
    at_once, by_need = resumptions
    for _ in at_once.rest():
        pass
    assert counted(worlds[1]) == counted(worlds[0])
    background = by_need.rest()
    gots = got, got.copy()
    for each in happens:
        if each == ("some",):
            for _ in range(data.draw(st.integers(1, 4))):
                next(background, None)
            continue
        seen = [happen(world, its, *each) for world, its in zip(worlds, gots, strict=True)]
        assert seen[1] == seen[0], each
        assert counted(worlds[1]) == counted(worlds[0]), each
    for _ in background:
        pass
    assert worlds[1].balancer.flows.table.pending is None
    assert _listed(worlds[1]) == _listed(worlds[0])
    assert counted(worlds[1]) == counted(worlds[0])
    assert (by_need.connections, by_need.dropped) == (at_once.connections, at_once.dropped)
