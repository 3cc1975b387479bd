"""DR, TUN and Local: requests leave by another door, replies never come back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6
from scapy.layers.ipsec import AH, ESP
from scapy.packet import Raw

from forwarders import Dr, Nat, Tun
from lvsd.core.commands import SetHealth
from lvsd.core.values import Health, Way
from lvsd.core.verdict import Hook, Verdict
from lvsd.packet.address import pack
from tests.unit.core.world import ICMP_ERRORS, Segment, World, icmp_error, raw

if TYPE_CHECKING:
    from lvsd.core.service import RealServer

pytestmark = pytest.mark.parametrize("version", [4, 6])

ROUTER = {4: "203.0.113.1", 6: "2001:db8:e::1"}
IN_IP = {4: 4, 6: 41}


def _header(world: World, packet: bytes) -> IP | IPv6:
    return IP(packet) if world.version == 4 else IPv6(packet)


def _one_hop_on(segment: Segment) -> bytes:
    return raw(replace(segment, ttl=segment.ttl - 1))


def _only_server(world: World) -> RealServer:
    ((server,),) = (service.servers for service in world.balancer.services)
    return server


# --- DR -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_dr_hands_the_packet_to_the_servers_mac_with_nothing_changed_but_the_ttl(
    version: int, protocol: str
) -> None:
    world = World(version)
    world.serve(protocol, forwarder=Dr())
    request = world.from_client(protocol=protocol)
    assert world.handle(request) is Verdict.TAKEN
    (departure,) = world.sent()
    assert departure.data == _one_hop_on(request)
    assert departure.neighbour == pack(world.rip())


def test_dr_sees_only_the_clients_side_of_a_connection(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    syn = world.from_client()
    states = []
    for what in ("S", "A", "FA", "A"):
        world.leave(replace(syn, what=what))
        states += world.states()
    assert states == ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "FIN_WAIT"]


def test_a_reply_that_strays_to_the_director_passes(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    syn = world.from_client()
    world.leave(syn)
    assert world.reply(replace(syn.reversed, what="SA")) is Verdict.PASS


def test_a_packet_at_its_last_hop_is_not_handed_on(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    assert world.handle(replace(world.from_client(), ttl=1)) is Verdict.DROP
    assert world.sent() == []
    assert world.drops() == {"ttl_expired": 1}


def test_a_repeated_syn_is_noted_of_a_server_whose_answers_go_elsewhere(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    for _ in range(3):
        world.leave(world.from_client())
    assert _only_server(world).unanswered == 2


def test_a_client_that_goes_on_shows_that_its_server_answers(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    for _ in range(3):
        world.leave(world.from_client())
    world.leave(world.from_client("A"))
    assert _only_server(world).unanswered == 0


def test_an_answer_over_sctp_is_none_to_a_syn(version: int) -> None:
    world = World(version)
    world.serve(fwmark=7, vport=0, forwarder=Dr())
    for _ in range(3):
        world.handle(world.from_client(), mark=7)
    seen = []
    for chunk in ("INIT", "COOKIE_ECHO", "DATA"):
        world.handle(world.from_client(chunk, protocol="sctp"), mark=7)
        seen.append((world.states()[-1], _only_server(world).unanswered))
    assert seen == [("INIT1", 2), ("ESTABLISHED", 2), ("ESTABLISHED", 2)]


def test_a_repeated_syn_says_nothing_of_a_server_whose_answers_are_seen(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Nat())
    for _ in range(3):
        world.handle(world.from_client())
    assert _only_server(world).unanswered == 0


@pytest.mark.parametrize("kind", ICMP_ERRORS)
def test_an_icmp_error_about_a_reply_goes_the_way_of_the_requests(version: int, kind: str) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    syn = world.from_client()
    world.leave(syn)
    error = icmp_error(kind, ROUTER[version], world.vip(), syn.reversed)
    assert world.handle(error) is Verdict.TAKEN
    (departure,) = world.sent()
    assert departure.neighbour == pack(world.rip())
    expected = _header(world, error)
    setattr(expected, "ttl" if version == 4 else "hlim", 63)
    if version == 4:
        del expected.chksum
    assert departure.data == bytes(expected)


# --- a way that is too narrow ---------------------------------------------------------------


def test_a_packet_too_long_for_the_server_is_refused_with_the_mtu(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    _only_server(world).mtu = 1400
    world.leave(world.from_client())
    assert world.handle(replace(world.from_client("PA"), payload=bytes(1380))) is Verdict.DROP
    assert world.drops() == {"too_big": 1}
    (answer,) = world.balancer.outbox.answers
    assert int.from_bytes(answer.message[4:8], "big") == 1400


def test_what_turns_out_too_long_when_it_is_sent_is_refused_with_the_mtu(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    world.leave(world.from_client())
    world.handle(replace(world.from_client("PA"), payload=bytes(1400)))
    (departure,) = world.sent()
    world.balancer.forwarding.too_long(departure, 1350)
    assert world.sent() == []
    (answer,) = world.balancer.outbox.answers
    outer = 20 if version == 4 else 40
    assert int.from_bytes(answer.message[4:8], "big") == 1350 - outer
    assert answer.destination == pack(world.client())


def test_what_the_kernel_put_together_from_fragments_is_cut_anew(version: int) -> None:
    world = World(version)
    world.serve("udp", forwarder=Dr())
    datagram = replace(world.from_client(protocol="udp"), payload=bytes(4000))
    assert world.handle(datagram) is Verdict.TAKEN
    pieces = world.sent()
    assert [len(piece.data) <= 1500 for piece in pieces] == [True] * 3
    assert {piece.neighbour for piece in pieces} == {pack(world.rip())}


def test_a_flow_of_ipv6_is_told_once_that_its_datagrams_are_too_big(version: int) -> None:
    world = World(version)
    world.serve("udp", forwarder=Tun())
    _only_server(world).mtu = 1400
    datagrams = [
        replace(world.from_client(protocol="udp"), source_port=port, payload=bytes(1380))
        for port in (50001, 50001, 50002)
    ]
    verdicts = [world.handle(datagram) for datagram in datagrams]
    # The sender has cut the second one, and the kernel has put it together again. IPv4's has no DF
    # then.
    second = Verdict.DROP if version == 4 else Verdict.TAKEN
    assert verdicts == [Verdict.DROP, second, Verdict.DROP]
    assert [len(piece.data) <= 1400 for piece in world.sent()] == [True] * (version // 6 * 2)


def test_a_way_that_claims_to_take_the_packet_it_refused_gets_it_no_more(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    world.handle(world.from_client())
    (departure,) = world.sent()
    world.balancer.forwarding.too_long(departure, 1500)
    assert (world.sent(), world.drops()) == ([], {"too_big": 1})


# --- TUN ------------------------------------------------------------------------------------


def test_tun_puts_the_packet_into_another_from_the_director_to_the_server(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    request = world.from_client()
    outer = _header(world, world.leave(request))
    assert (outer.src, outer.dst) == (world.source, world.rip())
    assert (outer.proto if version == 4 else outer.nh) == IN_IP[version]
    assert bytes(outer.payload) == _one_hop_on(request)


def test_a_tunnel_begins_at_another_address_when_the_route_says_so(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    world.leave(world.from_client())
    world.source = "10.0.0.253" if version == 4 else "fd00::fd"
    _only_server(world).set_way(Way(1500, pack(world.source)))
    outer = _header(world, world.leave(world.from_client("A")))
    assert outer.src == world.source


def test_a_server_without_a_route_is_refused_and_counted(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    _only_server(world).set_way(Way(1500, None))
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"no_route": 1}
    assert len(world.balancer.outbox.answers) == 1
    assert world.balancer.flows.table.count == 0


def test_a_full_sized_packet_gets_the_mtu_that_the_tunnel_leaves(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun("gue", 6080))
    world.leave(world.from_client())
    headers = 40 if version == 4 else 60
    full = replace(world.from_client("PA"), payload=bytes(1500 - headers))
    assert world.handle(full) is Verdict.DROP
    (answer,) = world.balancer.outbox.answers
    outer = 20 if version == 4 else 40
    assert int.from_bytes(answer.message[4:8], "big") == 1500 - outer - 8 - 4


@pytest.mark.parametrize(("options", "mss"), [({}, 1460), ({"mss_clamp": True}, 1440)])
def test_the_mss_of_a_syn_is_lowered_on_request(
    version: int, options: dict[str, Any], mss: int
) -> None:
    world = World(version)
    world.serve(forwarder=Tun(), **options)
    header = _header(world, raw(world.from_client()))
    header[TCP].options = [("MSS", 1460)]
    for field in ("dataofs", "chksum"):
        delattr(header[TCP], field)
    delattr(header, "len" if version == 4 else "plen")
    if version == 4:
        del header.chksum
    outer = _header(world, world.leave(bytes(header)))
    if options and version == 6:
        mss = 1400
    assert outer.payload[TCP].options == [("MSS", mss)]
    inner = outer.payload.copy()
    del inner[TCP].chksum
    expected = type(inner)(bytes(inner))[TCP].chksum
    assert outer.payload[TCP].chksum == expected


def test_an_icmp_error_about_the_tunnel_becomes_one_for_the_client(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    request = world.from_client()
    outer = world.leave(request)
    if version == 4:
        error = IP(src=ROUTER[4], dst=world.source) / ICMP(type=3, code=4, nexthopmtu=1400)
    else:
        error = IPv6(src=ROUTER[6], dst=world.source) / ICMPv6PacketTooBig(mtu=1400)
    assert world.handle(bytes(error / Raw(outer))) is Verdict.TAKEN
    (answer,) = world.balancer.outbox.answers
    assert answer.destination == pack(world.client())
    less = 20 if version == 4 else 40
    assert int.from_bytes(answer.message[4:8], "big") == 1400 - less
    assert answer.message[8:] == _one_hop_on(request)
    assert _only_server(world).mtu == 1400


def test_an_expired_ttl_within_the_tunnel_is_told_the_client(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    request = world.from_client()
    outer = world.leave(request)
    if version == 4:
        error = IP(src=ROUTER[4], dst=world.source) / ICMP(type=11)
    else:
        error = IPv6(src=ROUTER[6], dst=world.source) / ICMPv6TimeExceeded()
    assert world.handle(bytes(error / Raw(outer))) is Verdict.TAKEN
    (answer,) = world.balancer.outbox.answers
    assert answer.message[0] == (11 if version == 4 else 3)
    assert answer.message[8:] == _one_hop_on(request)


def test_an_icmp_error_that_quotes_too_little_of_a_tunnel_passes(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Tun())
    outer = world.leave(world.from_client())[: 28 if version == 4 else 48]
    if version == 4:
        error = IP(src=ROUTER[4], dst=world.source) / ICMP(type=11)
    else:
        error = IPv6(src=ROUTER[6], dst=world.source) / ICMPv6TimeExceeded()
    assert world.handle(bytes(error / Raw(outer))) is Verdict.PASS
    assert world.balancer.outbox.answers == []


# --- Local ----------------------------------------------------------------------------------


@pytest.mark.parametrize("forwarder", [Dr(), Tun()])
def test_a_server_that_is_the_director_gets_the_packet_as_it_is(
    version: int, forwarder: Dr | Tun
) -> None:
    world = World(version)
    world.serve(forwarder=forwarder)
    world.balancer.network.local_addresses = frozenset({pack(world.vip()), pack(world.rip())})
    _only_server(world).set_way(Way(1500, pack(world.rip()), is_local=True))
    assert world.handle(replace(world.from_client(), ttl=1)) is Verdict.PASS
    assert world.states() == ["SYN_RECV"]
    assert _only_server(world).effective_forwarder.label == "Local"


def test_a_packet_for_the_director_is_not_routed_where_the_vip_is_foreign(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Dr())
    world.balancer.network.local_addresses = frozenset({pack(world.rip())})
    _only_server(world).set_way(Way(1500, pack(world.rip()), is_local=True))
    assert world.handle(world.from_client()) is Verdict.DROP
    assert world.drops() == {"not_local": 1}


@pytest.mark.parametrize("forwarder", [Dr(), Tun()])
def test_a_living_connection_follows_a_server_that_moves_to_the_director_and_away(
    version: int, forwarder: Dr | Tun
) -> None:
    world = World(version)
    world.serve(forwarder=forwarder)
    server = _only_server(world)
    world.balancer.network.local_addresses = frozenset({pack(world.vip()), pack(world.rip())})
    sent = world.leave(world.from_client())
    server.set_way(Way(1500, pack(world.rip()), is_local=True))
    assert world.handle(world.from_client()) is Verdict.PASS
    server.set_way(Way(1500, pack(world.source)))
    assert world.leave(world.from_client()) == sent
    assert len(server.paths) == 1


def test_nat_to_the_director_itself_rewrites_replies_on_their_way_out(version: int) -> None:
    world = World(version)
    world.serve(forwarder=Nat())
    _only_server(world).set_way(Way(1500, pack(world.rip()), is_local=True))
    request = world.from_client()
    assert world.handle(request) == raw(world.to_server(request))
    reply = replace(world.to_server(request).reversed, what="SA")
    assert world.handle(reply, hook=Hook.OUTPUT) == raw(replace(request.reversed, what="SA"))


# --- AH and ESP -----------------------------------------------------------------------------


def _esp(world: World, source: str, destination: str) -> bytes:
    header = (
        IP(src=source, dst=destination) if world.version == 4 else IPv6(src=source, dst=destination)
    )
    return bytes(header / ESP(spi=7, seq=1, data=b"secret" * 4))


def test_esp_follows_the_key_exchange_between_the_same_hosts(version: int) -> None:
    world = World(version)
    world.serve("udp", 500, forwarder=Dr(), servers=2)
    exchange = world.from_client(protocol="udp", cport=500, vport=500)
    world.handle(exchange)
    (first,) = world.sent()
    packet = _esp(world, world.client(), world.vip())
    assert world.handle(packet) is Verdict.TAKEN
    (departure,) = world.sent()
    assert departure.neighbour == first.neighbour


def test_esp_is_rewritten_by_nat_in_its_addresses_only(version: int) -> None:
    world = World(version)
    world.serve("udp", 500, rport=500, forwarder=Nat())
    world.handle(world.from_client(protocol="udp", cport=500, vport=500))
    outcome = world.handle(_esp(world, world.client(), world.vip()))
    assert outcome == _esp(world, world.client(), world.rip())
    reply = world.reply(_esp(world, world.rip(), world.client()))
    assert reply == _esp(world, world.vip(), world.client())


def test_esp_without_a_key_exchange_passes(version: int) -> None:
    world = World(version)
    world.serve("udp", 500, forwarder=Dr())
    assert world.handle(_esp(world, world.client(), world.vip())) is Verdict.PASS


def test_esp_keeps_the_entry_of_its_key_exchange_alive(version: int) -> None:
    world = World(version)
    world.serve("udp", 500, forwarder=Dr())
    world.handle(world.from_client(protocol="udp", cport=500, vport=500))
    world.wait(200)
    world.handle(_esp(world, world.client(), world.vip()))
    world.wait(200)
    assert world.states() == ["UDP"]


def test_ah_follows_the_key_exchange_too(version: int) -> None:
    """In IPv6 AH is an extension header: what stands behind it counts."""
    world = World(version)
    world.serve("udp", 500, forwarder=Dr())
    world.handle(world.from_client(protocol="udp", cport=500, vport=500))
    world.sent()
    header = IP if version == 4 else IPv6
    authentication = AH(spi=7, seq=1, icv=bytes(12), payloadlen=4, nh=17)
    inner = UDP(sport=1, dport=2) / Raw(b"x")
    packet = header(src=world.client(), dst=world.vip()) / authentication / inner
    outcome = world.handle(bytes(packet))
    assert outcome is (Verdict.TAKEN if version == 4 else Verdict.PASS)
    assert [each.neighbour for each in world.sent()] == [pack(world.rip())] * (version == 4)


@pytest.mark.parametrize("health", Health)
def test_esp_does_not_get_to_a_server_that_checks_removed(version: int, health: Health) -> None:
    world = World(version)
    world.serve("udp", 500, forwarder=Dr())
    server = _only_server(world)
    world.handle(world.from_client(protocol="udp", cport=500, vport=500))
    world.apply(SetHealth(server.service.key, *server.config.place, health))
    verdict = Verdict.DROP if health is Health.REMOVED else Verdict.TAKEN
    assert world.handle(_esp(world, world.client(), world.vip())) is verdict


def test_esp_goes_the_way_of_its_key_exchange_also_when_new_connections_go_another(
    version: int,
) -> None:
    world = World(version)
    world.serve("udp", 500, forwarder=Dr())
    world.handle(world.from_client(protocol="udp", cport=500, vport=500))
    world.sent()
    world.edit_server(_only_server(world), forwarder=Tun())
    packet = _esp(world, world.client(), world.vip())
    assert world.handle(packet) is Verdict.TAKEN
    (departure,) = world.sent()
    assert departure.neighbour == pack(world.rip())


def test_new_connections_go_the_new_way_while_old_ones_go_on(version: int) -> None:
    world = World(version)
    service = world.serve(rport=80)
    old = world.from_client(cport=1)
    world.handle(old)
    world.edit_server(service.servers[0], forwarder=Dr())
    assert world.handle(old) == raw(world.to_server(old, rport=80))
    new = world.from_client(cport=2)
    assert world.leave(new) == raw(replace(new, ttl=63))
