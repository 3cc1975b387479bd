"""Each check by itself: what it says of a snapshot, and when it keeps quiet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lvsd.doctor import questions
from lvsd.doctor.checks import (
    CHECKS,
    arp,
    bypass,
    daemon,
    firewall,
    interface,
    local_addresses,
    mtu,
    neighbour,
    queue,
    reply,
    room,
    rp_filter,
    virtual_address,
)
from lvsd.doctor.snapshot import Answer, Answers, Ask, Chain, Counts, Daemon, Snapshot
from lvsd.packet.address import pack
from tests.unit.doctor.cases import (
    DIRECTOR,
    DR,
    FULLNAT,
    LOCAL,
    MAC,
    MACHINE,
    NAT,
    ROUTER,
    SERVER_MAC,
    TUN,
    VIP,
    answering,
    plain,
    said,
    service,
    snapshot,
    without,
)

if TYPE_CHECKING:
    from lvsd.doctor.finding import Check

SILENT = Counts(1, 5, 0, waiting=2, waiting_s=8)
ANSWERING = Counts(1, 5, 5, heard_ago_s=3)
ONCE_HEARD = Counts(1, 5, 5, heard_ago_s=3600)
DOCUMENT = Path(__file__).parents[3] / "docs" / "doctor.md"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_check_keeps_quiet_where_all_is_good(check: Check) -> None:
    assert said(check, snapshot()) == []


def test_every_check_has_a_row_in_the_manual() -> None:
    table = DOCUMENT.read_text().partition("## Checks")[2].partition("##")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if "|" in line]
    assert rows[2:] == [f"`{check.name}`" for check in CHECKS]


# --- the daemon -----------------------------------------------------------------------------


def test_a_table_that_somebody_removed_is_a_problem() -> None:
    good = snapshot()
    given = replace(good, machine=replace(good.machine, tables=("lvsd_guard",)))

    missing = "the nftables table was removed: no packet reaches lvsd"
    assert said(daemon.CHECK, given) == [("problem", missing)]


@pytest.mark.parametrize(
    ("tables", "where"),
    [
        (("lvsd_guard",), "nftables table inet lvsd_guard"),
        (("lvsd", "lvsd_guard"), "nftables table inet lvsd, table inet lvsd_guard"),
    ],
)
def test_the_tables_that_a_dead_daemon_left_are_named(tables: tuple[str, ...], where: str) -> None:
    good = snapshot()
    machine = replace(good.machine, tables=tables, queue_is_read=False)
    given = replace(good, machine=machine, daemon=None, config="/etc/a b.toml")
    _, finding = daemon.CHECK.look(given)
    assert (finding.where, finding.remedy) == (where, "lvsd cleanup -c '/etc/a b.toml'")


def test_the_draft_of_a_killed_daemon_drops_no_packets() -> None:
    good = snapshot()
    machine = replace(good.machine, tables=("lvsd_draft",), queue_is_read=False)
    _, told = said(daemon.CHECK, replace(good, machine=machine, daemon=None))
    assert told == (
        "warning",
        "a killed lvsd left a draft of its rules behind, which no packet meets",
    )


def test_what_an_ordinary_stop_left_is_no_problem() -> None:
    good = snapshot()
    machine = replace(good.machine, tables=("lvsd_hold",), queue_is_read=False)
    _, told = said(daemon.CHECK, replace(good, machine=machine, daemon=None))
    assert told == (
        "warning",
        "lvsd was stopped: for `hold_s` seconds from then on its services' packets are dropped",
    )


def test_a_table_that_another_daemon_may_serve_is_no_problem() -> None:
    given = replace(snapshot(), daemon=None, silence="nobody listens")
    assert said(daemon.CHECK, given) == [
        ("warning", "its counters are unknown, as it does not answer: nobody listens")
    ]


def test_questions_that_were_left_out_are_a_warning() -> None:
    given = replace(snapshot(), answers=Answers(unasked=3))
    expected = "too many servers: 3 questions were not sent"
    assert said(daemon.CHECK, given) == [("warning", expected)]


def test_a_forker_that_has_ended_is_a_warning() -> None:
    given = replace(snapshot(), daemon=Daemon(groups={"engine": {"forker_ended": 1}}))
    [finding] = daemon.CHECK.look(given)
    what = "the process that forks engines has ended: should the engine end, so does lvsd"
    assert (finding.level.name, finding.what) == ("WARNING", what)
    assert finding.remedy == "systemctl restart lvsd"


def test_errors_in_handling_packets_are_a_problem() -> None:
    given = replace(snapshot(), daemon=Daemon(groups={"queue": {"handler_errors": 2}}))
    expected = "2 packets were lost to an error in lvsd, or in a scheduler, since it began"
    assert said(queue.CHECK, given) == [("problem", expected)]


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        ({"entries": 899, "max_connections": 1000, "evicted": 0, "refused": 0}, []),
        (
            {"entries": 900, "max_connections": 1000, "evicted": 0, "refused": 0},
            ["the connection table is nearly full: 900 of 1000 entries"],
        ),
        (
            {"entries": 10, "max_connections": 1000, "evicted": 7, "refused": 2},
            [],  # long ago
        ),
        (
            {"entries": 9, "max_connections": 1000, "evicted": 7, "refused": 2, "short_of_room": 1},
            [
                (
                    "no room for new connections: 7 that were still opening gave way, "
                    "2 were refused since lvsd began"
                )
            ],
        ),
    ],
)
def test_a_table_that_was_or_nearly_is_full_is_a_warning(
    counters: dict[str, int], expected: list[str]
) -> None:
    given = replace(snapshot(), daemon=Daemon(groups={"table": counters}))
    assert said(room.CHECK, given) == [("warning", text) for text in expected]


@pytest.mark.parametrize(("before", "level"), [(1, "problem"), (2, "warning")])
def test_errors_that_are_over_are_only_a_warning(before: int, level: str) -> None:
    now, since = ({"queue": {"handler_errors": count}} for count in (2, before))
    given = replace(snapshot(), daemon=Daemon({}, now, since, seconds=2.1))
    [(found, what)] = said(queue.CHECK, given)
    assert found == level
    assert what.endswith(f"since it began, {2 - before} in the last 2 s")


# --- the firewall, rp_filter ----------------------------------------------------------------

WALL = Chain("inet", "wall", "it", "forward", knows_untracked=False)


@pytest.mark.parametrize(
    ("counts", "levels"), [(None, ["warning"]), (SILENT, ["problem"]), (ANSWERING, [])]
)
def test_a_dropping_chain_counts_by_what_got_through(
    counts: Counts | None, levels: list[str]
) -> None:
    given = snapshot(service(NAT, counts))
    given = replace(given, machine=replace(MACHINE, chains=(WALL,)))
    assert [level for level, _ in said(firewall.CHECK, given)] == levels


@pytest.mark.parametrize(
    "chain",
    [
        WALL._replace(knows_untracked=True),
        WALL._replace(family="ip6"),
        WALL._replace(hook="output"),
    ],
)
def test_a_chain_that_nat_does_not_meet_or_that_knows_it_is_no_fault(chain: Chain) -> None:
    given = replace(snapshot(service(NAT)), machine=replace(MACHINE, chains=(chain,)))
    assert said(firewall.CHECK, given) == []


@pytest.mark.parametrize("address", [DR, TUN, FULLNAT])
def test_a_strict_rp_filter_matters_to_nat_only(address: bytes) -> None:
    strict = replace(MACHINE, rp_filter={"back": 1}, rp_filter_drops=9)
    given = replace(snapshot(service(address, SILENT)), machine=strict)
    assert said(rp_filter.CHECK, given) == []


def test_what_rp_filter_dropped_is_a_warning_while_servers_answer() -> None:
    strict = replace(MACHINE, rp_filter={"back": 1, "lo": 1}, rp_filter_drops=9)
    given = replace(snapshot(service(NAT, ANSWERING)), machine=strict)
    [finding] = rp_filter.CHECK.look(given)
    assert finding.level.name == "WARNING"
    assert (finding.where, finding.remedy) == (
        "interface back",
        "sysctl -w net.ipv4.conf.back.rp_filter=2",
    )


def test_the_interfaces_are_named_whose_filter_drops_the_requests_of_known_clients() -> None:
    strict = replace(
        MACHINE,
        rp_filter={"back": 1, "front": 1, "lo": 1},
        rp_filter_drops=9,
        client_ways={pack("198.51.100.7"): "back"},
    )
    given = replace(snapshot(service(NAT, SILENT)), machine=strict)
    [finding] = rp_filter.CHECK.look(given)
    assert (finding.where, finding.remedy) == (
        "interface front",
        "sysctl -w net.ipv4.conf.front.rp_filter=2",
    )
    assert "those of 198.51.100.7: the route back leaves by back" in finding.what


# --- neighbours and replies -----------------------------------------------------------------


def test_a_router_that_is_gone_is_told_for_whoever_is_behind_it() -> None:
    good = snapshot(service(TUN))
    given = without(good, asks=[Ask("back", ROUTER, DIRECTOR)], echoes=good.answers.echoes)
    expected = "10.2.0.11 cannot be reached: the router 10.0.0.254 does not answer ARP"
    assert said(neighbour.CHECK, given) == [("problem", expected)]
    assert said(reply.CHECK, given) == said(virtual_address.CHECK, given) == []


def test_a_server_that_answers_echoes_has_a_neighbour_whatever_arp_says() -> None:
    given = without(snapshot(service(DR)), asks=[Ask("back", DR, DIRECTOR)])
    assert said(neighbour.CHECK, given) == []


def test_a_nat_server_that_has_answered_clients_needs_no_echo() -> None:
    given = without(
        snapshot(service(NAT, ANSWERING)), echoes=[questions.from_outside(service(NAT).servers[0])]
    )
    assert said(reply.CHECK, given) == []


@pytest.mark.parametrize("counts", [ONCE_HEARD, SILENT, None])
def test_a_nat_server_that_answered_long_ago_is_asked_by_an_echo(counts: Counts | None) -> None:
    lost = [questions.from_outside(service(NAT).servers[0])]
    given = without(snapshot(service(NAT, counts)), echoes=lost)
    [(level, what)] = said(reply.CHECK, given)
    assert level == "problem"
    assert what.startswith("replies of 10.0.0.11 to clients do not come through this director")


@pytest.mark.parametrize(("counts", "level"), [(None, "warning"), (SILENT, "problem")])
def test_a_server_without_an_echo_is_a_problem_once_packets_went_unanswered(
    counts: Counts | None, level: str
) -> None:
    good = snapshot(service(FULLNAT, counts))
    given = without(good, echoes=good.answers.echoes)
    assert [found for found, _ in said(reply.CHECK, given)] == [level]


def test_what_a_router_says_of_an_echo_is_passed_on() -> None:
    unreachable = Answer("back", MAC, "10.0.0.254 says: no route to the network")
    given = answering(snapshot(service(FULLNAT)), plain(FULLNAT), unreachable)
    expected = "10.3.0.11 cannot be reached: 10.0.0.254 says: no route to the network"
    assert said(reply.CHECK, given) == [("problem", expected)]


def test_a_local_address_is_asked_for_only_while_it_is_here() -> None:
    machine = replace(MACHINE, addresses={DIRECTOR: frozenset({"back"})})
    given = replace(snapshot(service(FULLNAT)), machine=machine)
    local = questions.from_local(given.services[0].servers[0], LOCAL)
    assert local is not None
    assert local not in set(questions.echoes(given))
    assert said(reply.CHECK, without(given, echoes=[local])) == []
    assert [level for level, _ in said(local_addresses.CHECK, given)] == ["problem"]


# --- virtual addresses ----------------------------------------------------------------------


def test_a_virtual_server_that_answers_no_echo_at_all_is_a_warning() -> None:
    good = snapshot(service(DR))
    given = without(good, echoes=good.answers.echoes)
    expected = "10.1.0.11 answers neither as 192.0.2.10 nor as itself: it is down, or drops echoes"
    assert said(virtual_address.CHECK, given) == [("warning", expected)]


def test_a_mark_has_no_virtual_address_to_ask_for() -> None:
    marked = replace(service(DR), vip=b"", protocol="ip")
    assert [echo for echo in questions.echoes(snapshot(marked)) if echo.neighbour] == []


def test_a_real_server_that_is_the_director_is_asked_nothing() -> None:
    own = replace(MACHINE, addresses={**MACHINE.addresses, DR: frozenset({"lo"})})
    given = replace(snapshot(service(DR)), machine=own)
    assert [*questions.echoes(given), *questions.next_hops(given)] == []


OWNER = Ask("back", VIP, DIRECTOR)
STRANGER = b"\x02\0\0\0\0\x99"


def owned(mac: bytes, *, local: bool = False) -> Snapshot:
    good = snapshot(service(DR))
    addresses = {**MACHINE.addresses, VIP: frozenset({"lo"})} if local else MACHINE.addresses
    answers = Answers({**good.answers.macs, OWNER: frozenset({mac})}, good.answers.echoes)
    return replace(good, machine=replace(MACHINE, addresses=addresses), answers=answers)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (owned(SERVER_MAC), [("problem", "the real server 10.1.0.11")]),
        (owned(STRANGER, local=True), [("problem", "another host")]),
        (owned(STRANGER), [("warning", "another host")]),
        (owned(MAC), []),
    ],
)
def test_who_answers_for_a_virtual_address_matters(
    given: Snapshot, expected: list[tuple[str, str]]
) -> None:
    found = [(level, what.partition(" answers ")[0]) for level, what in said(arp.CHECK, given)]
    assert found == expected


@pytest.mark.parametrize(
    ("local", "rp", "forwarding", "reason"),
    [
        (True, 0, True, "net.ipv4.conf.back.accept_local is 0"),
        (False, 1, True, "net.ipv4.conf.back.rp_filter is 1"),
        (False, 0, False, "net.ipv4.ip_forward is 0"),
        (False, 0, True, ""),
    ],
)
def test_replies_that_come_back_are_a_problem_where_the_kernel_drops_them(
    *, local: bool, rp: int, forwarding: bool, reason: str
) -> None:
    good = snapshot(service(DR))
    server = good.services[0].servers[0]
    machine = replace(
        MACHINE,
        addresses={**MACHINE.addresses, VIP: frozenset({"lo"})} if local else MACHINE.addresses,
        rp_filter={"back": rp},
        forwarding={4: forwarding},
    )
    echo = questions.virtual_from_outside(machine, good.services[0], server)
    given = answering(replace(good, machine=machine), echo, Answer("back", SERVER_MAC))
    [(level, what)] = said(bypass.CHECK, given)
    assert (level, what.partition("drops them: ")[2]) == (
        "problem" if reason else "warning",
        reason,
    )


# --- room -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "refused", "levels"),
    [(0, 0, []), (1, 7, ["warning"]), (8, 0, ["warning"]), (9, 7, ["problem"])],
)
def test_a_pool_counts_by_how_full_it_is(used: int, refused: int, levels: list[str]) -> None:
    small = replace(service(FULLNAT, Counts(used, 1, 1)), local_ports=(2000, 2009))
    given = replace(snapshot(small), daemon=Daemon({"no_local_port": refused}))
    assert [level for level, _ in said(local_addresses.CHECK, given)] == levels


def test_a_clients_address_without_room_is_a_warning() -> None:
    given = replace(snapshot(), daemon=Daemon(groups={"client_address": {"no_room": 4}}))
    expected = "4 packets had no room for the client's address (TOA) since it began"
    assert said(mtu.CHECK, given) == [("warning", expected)]


def test_the_longest_packet_that_arrives_is_what_the_route_is_told() -> None:
    good = snapshot(service(FULLNAT))
    server = good.services[0].servers[0]
    full = questions.full_size(MACHINE, server)
    assert full is not None
    given = without(good, echoes=[full])
    for size in (1400, 1280):
        given = answering(given, full._replace(size=size), Answer("back", MAC))
    [finding] = mtu.CHECK.look(given)
    assert finding.remedy == "ip route replace 10.3.0.11/32 via 10.0.0.254 dev back mtu 1400"


def with_interface(name: str, *, of: str = "front", missing: int = 0) -> Snapshot:
    """Return a snapshot of a VIP that belongs on ``name``, on a host that has it on ``of``."""
    good = snapshot(replace(service(NAT), interface=name))
    machine = replace(
        good.machine,
        interfaces=frozenset({"front", "back"}),
        addresses={**good.machine.addresses, VIP: frozenset({of} if of else ())},
    )
    daemon = Daemon(groups={"virtual_addresses": {"missing": missing}})
    return replace(good, machine=machine, daemon=daemon)


@pytest.mark.parametrize(
    ("name", "of", "missing", "found"),
    [
        ("front", "front", 0, []),
        ("front", "", 1, ["192.0.2.10 is not on front: somebody took it away"]),
        ("front", "back", 1, ["192.0.2.10 is not on front: somebody took it away"]),
        ("eth9", "back", 1, ["192.0.2.10 is on back, and there is no eth9: was it renamed?"]),
        ("eth9", "", 1, ["192.0.2.10 waits for the interface eth9, which does not exist"]),
        ("", "", 1, ["virtual addresses that are not on their interface: 1"]),
        ("", "", 0, []),
    ],
)
def test_a_virtual_address_belongs_on_its_interface(
    name: str, of: str, missing: int, found: list[str]
) -> None:
    told = said(interface.CHECK, with_interface(name, of=of, missing=missing))
    assert told == [("problem", each) for each in found]


def test_without_a_daemon_no_virtual_address_is_missing() -> None:
    assert said(interface.CHECK, replace(with_interface("front", of=""), daemon=None)) == []
