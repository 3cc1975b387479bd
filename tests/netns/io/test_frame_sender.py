"""Frames of our own: whom they reach, what waits for a MAC, and whom they cannot reach."""

from __future__ import annotations

import asyncio
import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scapy.layers.l2 import Ether

from lvsd.core.verdict import Departure
from lvsd.io.frame_sender import IN_ALL, PER_NEIGHBOUR, FrameSender
from lvsd.packet.address import pack
from lvsd.supervisor.host import look
from lvsd.supervisor.neighbours import Neighbours
from tests.netns.io.hosts import CLIENT4, CLIENT6, MTU, PATIENCE_S, SERVER4, SERVER6, nft
from tests.netns.io.wire import datagram, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvsd.io.leads import Lead
    from tests.netns.io.hosts import Host, Row

VIP4, VIP6 = "198.51.100.10", "2001:db8:99::10"
SILENT4, SILENT6 = "10.0.0.77", "2001:db8:2::77"
"""Addresses on the server's link that nobody has."""
NEW_MAC = "02:00:00:00:00:99"
ENDS = [
    pytest.param(CLIENT4, VIP4, SERVER4, id="ipv4"),
    pytest.param(CLIENT6, VIP6, SERVER6, id="ipv6"),
]


class Frames:
    """A sender in the director, and the supervisor's side, on a loop that runs when the test says.

    The clock stands still: the test moves it. Servers are of direct routing from when something is
    sent to them on.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.returned: list[tuple[bytes, int]] = []
        self.servers: dict[bytes, None] = {}
        self.neighbours = Neighbours(self._tell)
        self.sender = FrameSender(
            lambda: self.now,
            lambda packet, mtu: self.returned.append((packet.data, mtu)),
            self.neighbours.ask,
        )
        self.sender.open()
        self.loop.run_until_complete(self.neighbours.start())
        self.stats = self.sender.stats

    def _tell(self, leads: dict[bytes, Lead | None]) -> None:
        self.sender.leads(leads)

    def refresh(self) -> None:
        """Take in that links or routes changed."""
        self.neighbours.keep(look((), self.servers)[1])

    def send(self, data: bytes, neighbour: str) -> int:
        """Send now."""
        address = pack(neighbour)
        if address not in self.servers:
            self.servers[address] = None
            self.refresh()
        return self.sender.send(Departure(data), address, self.now)

    def tick(self, later_s: float) -> None:
        """Let time pass, and the sender see to what is due."""
        self.now += later_s
        self.sender.tick(self.now)

    def until(self, condition: Callable[[], bool], *, ticking: bool = False) -> None:
        """Run the loop until something is so; with ``ticking`` a second passes at every look."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(0.01)
                    if ticking:
                        self.tick(1.0)

        self.loop.run_until_complete(wait())

    def close(self) -> None:
        """Close the sender, the supervisor's side and the loop."""
        self.sender.close()
        self.neighbours.close()
        self.loop.close()


@pytest.fixture
def frames(row: Row) -> Iterator[Frames]:
    """Open a sender in the director, whose kernel knows no neighbours."""
    row.director.ip("neigh flush all nud all")
    frames = Frames()
    yield frames
    frames.close()
    row.director.ip("neigh flush all nud all")


def mac(host: Host, interface: str = "eth0") -> str:
    command = ["ip", "-n", host.name, "-json", "link", "show", "dev", interface]
    done = subprocess.run(command, check=True, capture_output=True)
    return str(json.loads(done.stdout)[0]["address"])


def neighbour_state(host: Host, address: str) -> Any:
    """Return the state of a neighbour in the kernel's table."""
    command = ["ip", "-n", host.name, "-json", "neigh", "show", "to", address]
    done = subprocess.run(command, check=True, capture_output=True)
    return json.loads(done.stdout)[0]["state"]


def learn(row: Row, frames: Frames, server: str) -> None:
    """Let the kernel know the server's MAC, by traffic of its own."""
    with row.director.udp(server_side(server)) as sender:
        sender.sendto(b"", (server, 9))
    frames.until(lambda: neighbour_state(row.director, server) == ["REACHABLE"])


def server_side(server: str) -> str:
    return "10.0.0.1" if "." in server else "2001:db8:2::1"


def payloads(found: list[Any]) -> list[bytes]:
    return [bytes(frame["UDP"].payload) for frame in found]


@contextmanager
def announcing(host: Host) -> Iterator[None]:
    """Let a host tell everybody when its MAC changes; give it its own back at the end."""
    own = mac(host)
    switches = ("ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/ndisc_notify")
    set_sysctls(host, dict.fromkeys(switches, "1"))
    yield
    set_sysctls(host, dict.fromkeys(switches, "0"))
    host.ip(f"link set eth0 address {own}")


def set_sysctls(host: Host, values: dict[str, str]) -> dict[str, str]:
    """Write sysctls in a host; return what they were."""
    before = {}
    with host.entered():
        for name, value in values.items():
            path = Path("/proc/sys/net", name)
            before[name] = path.read_text(encoding="ascii").strip()
            path.write_text(value, encoding="ascii")
    return before


@contextmanager
def sysctls(host: Host, values: dict[str, str]) -> Iterator[None]:
    before = set_sysctls(host, values)
    try:
        yield
    finally:
        set_sysctls(host, before)


@contextmanager
def spare_link(row: Row) -> Iterator[None]:
    """Connect the director's eth2, 10.9.0.1, with the server's spare0, 10.9.0.2."""
    row.director.ip(f"link add eth2 type veth peer name spare0 netns {row.server.name}")
    try:
        for host, name, number in ((row.director, "eth2", 1), (row.server, "spare0", 2)):
            host.ip(f"address add 10.9.0.{number}/24 dev {name}")
            host.ip(f"link set {name} up")
        yield
    finally:
        subprocess.run(["ip", "-n", row.director.name, "link", "delete", "eth2"], check=False)


@pytest.mark.parametrize(("client", "vip", "server"), ENDS)
def test_a_frame_goes_to_the_neighbours_mac_and_the_packet_stays_as_it_is(
    row: Row, frames: Frames, client: str, vip: str, server: str
) -> None:
    learn(row, frames, server)
    data = datagram(client, vip, bytes(range(100)))
    with wire(row.server) as seen:
        assert frames.send(data, server) == 0
        (frame,) = seen.take(1)
    ethertype = 0x0800 if "." in server else 0x86DD
    expected = Ether(dst=mac(row.server), src=mac(row.director, "eth1"), type=ethertype)
    assert bytes(frame) == bytes(expected) + data
    assert (frames.stats.sent, frames.stats.waiting) == (1, 0)


@pytest.mark.parametrize(("client", "vip", "server"), ENDS)
def test_a_frame_leaves_whatever_the_operators_rules_drop(
    row: Row, frames: Frames, client: str, vip: str, server: str
) -> None:
    row.director.ip(f"neigh replace {server} lladdr {mac(row.server)} dev eth1 nud permanent")
    hooks = ("forward", "output", "postrouting")
    nft("".join(f"add table inet filter\n{_dropping(hook)}\n" for hook in hooks))
    data = datagram(client, vip, b"past all of them")
    with wire(row.server) as seen:
        assert frames.send(data, server) == 0
        assert bytes(seen.take(1)[0].payload) == data


def _dropping(hook: str) -> str:
    settings = f"type filter hook {hook} priority 0; policy drop;"
    return f"add chain inet filter {hook} {{ {settings} }}"


@pytest.mark.parametrize(("client", "vip", "server"), ENDS)
def test_packets_wait_for_a_missing_mac_and_then_leave_in_order(
    row: Row, frames: Frames, client: str, vip: str, server: str
) -> None:
    sent = [b"%d" % number for number in range(5)]
    with wire(row.server) as seen:
        for payload in sent:
            assert frames.send(datagram(client, vip, payload), server) == 0
        assert (frames.stats.waiting, frames.stats.sent) == (5, 0)
        frames.until(lambda: frames.stats.waiting == 0)
        assert frames.send(datagram(client, vip, b"afterwards"), server) == 0
        found = seen.take(6)
    assert payloads(found) == [*sent, b"afterwards"]
    assert {frame.dst for frame in found} == {mac(row.server)}
    assert (frames.stats.sent, frames.stats.expired) == (6, 0)


@pytest.mark.parametrize(
    ("client", "vip", "silent", "asking"),
    [
        pytest.param(CLIENT4, VIP4, SILENT4, "ARP", id="ipv4"),
        pytest.param(CLIENT6, VIP6, SILENT6, "neighbour discovery", id="ipv6"),
    ],
)
def test_nothing_waits_longer_than_a_second_for_a_neighbour_that_is_silent(
    frames: Frames, client: str, vip: str, silent: str, asking: str
) -> None:
    data = datagram(client, vip, b"x")
    for _ in range(PER_NEIGHBOUR + 3):
        assert frames.send(data, silent) == 0
    assert (frames.stats.waiting, frames.stats.crowded) == (PER_NEIGHBOUR, 3)
    frames.tick(later_s=0.99)
    assert (frames.stats.waiting, frames.stats.expired) == (PER_NEIGHBOUR, 0)
    assert frames.sender.problems() == {}
    frames.tick(later_s=0.01)
    assert (frames.stats.waiting, frames.stats.expired) == (0, PER_NEIGHBOUR)
    assert frames.sender.problems() == {pack(silent): f"does not answer {asking}"}


def test_old_packets_make_room_for_new_ones_between_ticks(frames: Frames) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    for _ in range(PER_NEIGHBOUR):
        frames.send(data, SILENT4)
    frames.now += 1.0
    frames.send(data, SILENT4)
    stats = frames.stats
    assert (stats.waiting, stats.expired, stats.crowded) == (1, PER_NEIGHBOUR, 0)


def test_no_more_than_so_many_packets_wait_in_all(frames: Frames) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    for host in range(100, 100 + IN_ALL // PER_NEIGHBOUR + 1):
        for _ in range(PER_NEIGHBOUR):
            assert frames.send(data, f"10.0.0.{host}") == 0
    assert (frames.stats.waiting, frames.stats.crowded) == (IN_ALL, PER_NEIGHBOUR)


def test_an_answer_that_comes_too_late_sends_nothing_old(row: Row, frames: Frames) -> None:
    with wire(row.server) as seen:
        frames.send(datagram(CLIENT4, VIP4, b"old"), SERVER4)
        frames.now += 1.0
        frames.until(lambda: frames.stats.waiting == 0)
        frames.send(datagram(CLIENT4, VIP4, b"new"), SERVER4)
        assert payloads(seen.take(1)) == [b"new"]
    assert (frames.stats.expired, frames.stats.sent) == (1, 1)


def test_a_neighbour_that_comes_late_is_no_problem_any_more(row: Row, frames: Frames) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    frames.send(data, SILENT4)
    frames.tick(later_s=1.0)
    assert pack(SILENT4) in frames.sender.problems()
    row.server.ip(f"address add {SILENT4}/32 dev eth0")
    frames.send(data, SILENT4)
    frames.until(lambda: frames.stats.sent == 1)
    row.server.ip(f"address delete {SILENT4}/32 dev eth0")
    assert frames.sender.problems() == {}


@pytest.mark.parametrize(("client", "vip", "server"), ENDS)
def test_a_neighbours_announced_new_mac_is_followed_at_once(
    row: Row, frames: Frames, client: str, vip: str, server: str
) -> None:
    data = datagram(client, vip, b"x")
    unlocked = {"ipv4/neigh/eth1/locktime": "0"}
    with sysctls(row.director, unlocked), announcing(row.server), wire(row.server) as seen:
        old = mac(row.server)
        frames.send(data, server)
        frames.until(lambda: frames.stats.sent == 1)
        row.server.ip(f"link set eth0 address {NEW_MAC}")

        def followed() -> bool:
            frames.send(data, server)
            return bool(seen.take(1)[0].dst == NEW_MAC)

        assert seen.take(1)[0].dst == old
        frames.until(followed)
    assert (frames.stats.expired, frames.stats.failed) == (0, 0)


@pytest.mark.parametrize(("client", "vip", "server"), ENDS)
def test_a_neighbour_in_use_is_probed_so_that_a_silent_new_mac_is_found(
    row: Row, frames: Frames, client: str, vip: str, server: str
) -> None:
    data = datagram(client, vip, b"x")
    version = 4 if "." in server else 6
    table = f"ipv{version}/neigh/eth1"
    hasty = {
        f"{table}/base_reachable_time_ms": "100",
        f"{table}/delay_first_probe_time": "0",
        f"{table}/retrans_time_ms": "50",
    }
    own = mac(row.server)
    with sysctls(row.director, hasty), wire(row.server) as seen:
        frames.send(data, server)
        frames.until(lambda: frames.stats.sent == 1)
        row.server.ip(f"link set eth0 address {NEW_MAC}")
        try:
            found = seen.take(1)

            def followed() -> bool:
                before = frames.stats.sent
                frames.send(data, server)
                found.extend(seen.take(frames.stats.sent - before))
                return bool(found[-1].dst == NEW_MAC)

            frames.until(followed, ticking=True)
        finally:
            row.server.ip(f"link set eth0 address {own}")
    assert found[0].dst == own


def test_a_deleted_neighbour_is_looked_for_again_at_once(row: Row, frames: Frames) -> None:
    learn(row, frames, SERVER4)
    data = datagram(CLIENT4, VIP4, b"x")
    frames.send(data, SERVER4)
    row.director.ip(f"neigh del {SERVER4} dev eth1")
    frames.until(lambda: frames.neighbours.leads[pack(SERVER4)].mac is None)
    frames.send(data, SERVER4)
    frames.until(lambda: frames.stats.sent == 2)
    assert (frames.stats.expired, frames.stats.waiting) == (0, 0)


def test_a_permanent_neighbour_is_used_and_stays_permanent(row: Row, frames: Frames) -> None:
    row.director.ip(f"neigh replace {SILENT4} lladdr {NEW_MAC} dev eth1 nud permanent")
    with wire(row.server) as seen:
        for _ in range(3):
            frames.send(datagram(CLIENT4, VIP4, b"x"), SILENT4)
            frames.tick(later_s=5.0)
        assert {frame.dst for frame in seen.take(3)} == {NEW_MAC}
    assert neighbour_state(row.director, SILENT4) == ["PERMANENT"]


def test_a_neighbour_made_permanent_meanwhile_stays_so(row: Row, frames: Frames) -> None:
    frames.send(datagram(CLIENT4, VIP4, b"x"), SILENT4)
    row.director.ip(f"neigh replace {SILENT4} lladdr {NEW_MAC} dev eth1 nud permanent")
    frames.now += 1.0
    frames.send(datagram(CLIENT4, VIP4, b"x"), SILENT4)
    assert neighbour_state(row.director, SILENT4) == ["PERMANENT"]


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        pytest.param("203.0.113.9", "no route", id="no route"),
        pytest.param("2001:db8:ff::9", "no route", id="ipv6: no route"),
        pytest.param(
            "10.8.0.9", "behind the router 10.0.0.2, not on the link eth1", id="behind a router"
        ),
        pytest.param(
            "2001:db8:8::9",
            "behind the router 2001:db8:2::2, not on the link eth1",
            id="ipv6: behind a router",
        ),
        pytest.param(
            "10.0.0.1", "reached over lo, which is not Ethernet", id="the director itself"
        ),
    ],
)
def test_what_is_no_neighbour_is_refused_with_the_reason(
    row: Row, frames: Frames, address: str, problem: str
) -> None:
    routes = ("10.8.0.0/24 via 10.0.0.2", "2001:db8:8::/64 via 2001:db8:2::2")
    for route in routes:
        row.director.ip(f"route add {route}")
    for _ in range(2):
        assert frames.send(datagram(CLIENT4, VIP4, b"x"), address) == 0
    for route in routes:
        row.director.ip(f"route del {route}")
    assert frames.sender.problems() == {pack(address): problem}
    assert (frames.stats.no_neighbour, frames.stats.waiting) == (2, 0)


def test_a_refresh_finds_a_new_route_and_drops_what_waits_for_one_that_went(
    row: Row, frames: Frames
) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    row.director.ip("route add 10.8.0.0/24 dev eth1")
    frames.send(data, "10.8.0.9")
    assert frames.stats.waiting == 1
    row.director.ip("route replace 10.8.0.0/24 via 10.0.0.2")
    frames.refresh()
    assert (frames.stats.waiting, frames.stats.no_neighbour) == (0, 1)
    assert pack("10.8.0.9") in frames.sender.problems()
    row.director.ip("route replace 10.8.0.0/24 dev eth1")
    frames.refresh()
    assert frames.sender.problems() == {}
    frames.send(data, "10.8.0.9")
    row.director.ip("route del 10.8.0.0/24")
    assert frames.stats.waiting == 1


@pytest.mark.parametrize(("client", "vip", "server"), ENDS)
def test_the_longest_packet_goes_and_one_byte_more_gives_the_mtu(
    row: Row, frames: Frames, client: str, vip: str, server: str
) -> None:
    learn(row, frames, server)
    fits = MTU - (28 if "." in server else 48)
    with wire(row.server) as seen:
        assert frames.send(datagram(client, vip, bytes(fits + 1)), server) == MTU
        assert frames.send(datagram(client, vip, bytes(fits)), server) == 0
        (frame,) = seen.take(1)
        assert seen.nothing()
    assert len(bytes(frame)) == MTU + 14
    assert (frames.stats.sent, frames.stats.too_long) == (1, 1)


def test_an_mtu_that_shrank_is_noticed_without_a_refresh(row: Row, frames: Frames) -> None:
    learn(row, frames, SERVER4)
    long = datagram(CLIENT4, VIP4, bytes(1420))
    assert frames.send(long, SERVER4) == 0
    row.set_mtu(1400)
    assert frames.send(long, SERVER4) == 1400
    assert (frames.stats.too_long, frames.stats.failed) == (1, 0)


@pytest.mark.parametrize("noticed", [False, True], ids=["not noticed", "noticed"])
def test_what_waited_for_a_mac_while_the_link_shrank_is_given_back_and_the_rest_goes(
    row: Row, frames: Frames, *, noticed: bool
) -> None:
    lengths = (1420, 10, 1430, 20)
    long, short, longer, last = (datagram(CLIENT4, VIP4, bytes(length)) for length in lengths)
    for data in (long, short, longer, last):
        assert frames.send(data, SILENT4) == 0
    assert frames.stats.waiting == 4
    row.set_mtu(1400)
    if noticed:
        frames.refresh()
    with wire(row.server) as seen:
        row.director.ip(f"neigh replace {SILENT4} lladdr {NEW_MAC} dev eth1 nud permanent")
        frames.until(lambda: frames.stats.waiting == 0)
        assert payloads(seen.take(2)) == [bytes(10), bytes(20)]
    assert frames.returned == [(long, 1400), (longer, 1400)]
    assert (frames.stats.sent, frames.stats.too_long, frames.stats.failed) == (2, 2, 0)


@pytest.mark.parametrize("data", [b"", b"\0", b"\x20" * 30])
def test_what_is_no_packet_is_counted_and_raises_nothing(
    row: Row, frames: Frames, data: bytes
) -> None:
    learn(row, frames, SERVER4)
    assert frames.send(data, SERVER4) == 0
    assert frames.sender.errors == {"EINVAL": 1}


def test_a_link_that_is_down_costs_its_packets_and_works_when_up_again(
    row: Row, frames: Frames
) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    with spare_link(row):
        frames.send(data, "10.9.0.2")
        frames.until(lambda: frames.stats.sent == 1)
        row.director.ip("link set eth2 down")
        frames.send(data, "10.9.0.2")
        frames.refresh()
        frames.send(data, "10.9.0.2")
        assert (frames.stats.sent, frames.sender.errors) == (1, {"ENETDOWN": 1})
        assert frames.sender.problems() == {pack("10.9.0.2"): "no route"}
        row.director.ip("link set eth2 up")
        frames.refresh()
        frames.send(data, "10.9.0.2")
        frames.until(lambda: frames.stats.sent == 2)


def test_a_link_that_was_made_anew_is_used_after_a_refresh(row: Row, frames: Frames) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    for sent in (1, 2):
        with spare_link(row):
            frames.refresh()
            frames.send(data, "10.9.0.2")
            frames.until(lambda sent=sent: frames.stats.sent == sent)  # type: ignore[misc]
    assert frames.stats.failed == 0


def test_frames_leave_with_the_interfaces_new_mac_after_a_refresh(row: Row, frames: Frames) -> None:
    data = datagram(CLIENT4, VIP4, b"x")
    with spare_link(row), wire(row.server, "spare0") as seen:
        frames.send(data, "10.9.0.2")
        frames.until(lambda: frames.stats.sent == 1)
        assert seen.take(1)[0].src == mac(row.director, "eth2")
        row.director.ip(f"link set eth2 address {NEW_MAC}")
        frames.refresh()
        frames.send(data, "10.9.0.2")
        frames.until(lambda: frames.stats.sent == 2)
        assert seen.take(1)[0].src == NEW_MAC


def test_nothing_arrives_at_the_sockets_and_they_close_with_the_last_neighbour(
    row: Row, frames: Frames
) -> None:
    learn(row, frames, SERVER4)
    frames.send(datagram(CLIENT4, VIP4, b"x"), SERVER4)
    (sock,) = frames.sender._sockets.values()
    with row.server.udp(SERVER4) as noise:
        noise.sendto(b"x", (CLIENT4, 9))
    with pytest.raises(BlockingIOError):
        sock.recv(100)
    frames.servers.clear()
    frames.refresh()
    assert sock.fileno() == -1
    assert frames.sender._neighbours == {}


def test_packets_to_whom_nothing_is_known_of_wait_for_a_lead_and_are_asked_for(row: Row) -> None:
    asked: list[list[bytes]] = []
    server, now = pack(SERVER4), 1000.0
    sender = FrameSender(lambda: now, lambda *_: None, lambda each: asked.append([*each]))
    data = Departure(datagram(CLIENT4, VIP4, b"x"))
    for later in (0.0, 0.5):
        assert sender.send(data, server, now + later) == 0
    assert (asked, sender.stats.waiting, sender.problems()) == ([[server]], 2, {})
    [lead] = look((), [server])[1].values()
    macs = bytes.fromhex(mac(row.server).replace(":", ""))
    with wire(row.server) as seen:
        sender.leads({server: lead})
        assert (asked, sender.stats.waiting) == ([[server]] * 2, 2), "asked for its MAC, too"
        sender.leads({server: lead._replace(mac=macs)})
        assert len(seen.take(2)) == 2
    assert (sender.stats.waiting, sender.stats.sent) == (0, 2)
    sender.close()


def test_a_server_that_is_gone_is_forgotten_and_so_is_one_that_never_came(row: Row) -> None:
    del row
    sender = FrameSender(lambda: 1000.0, lambda *_: None, lambda _: None)
    data = Departure(datagram(CLIENT4, VIP4, b"x"))
    gone, never = pack(SILENT4), pack("10.0.0.78")
    sender.leads(dict(look((), [gone])[1]))
    for address in (gone, never):
        sender.send(data, address, 1000.0)
    sender.leads({gone: None})
    assert (sender.stats.waiting, sender.stats.no_neighbour) == (1, 1)
    sender.tick(1060.0)
    assert (sender.stats.waiting, sender.stats.expired, sender._neighbours) == (0, 1, {})
    sender.close()


def test_what_is_wrong_with_a_neighbour_that_nothing_is_sent_to_is_of_no_interest(
    frames: Frames,
) -> None:
    frames.send(datagram(CLIENT4, VIP4, b"x"), "203.0.113.9")
    assert list(frames.sender.problems()) == [pack("203.0.113.9")]
    frames.tick(later_s=60.0)
    assert frames.sender.problems() == {}
