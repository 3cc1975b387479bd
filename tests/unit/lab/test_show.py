"""How the demo looks: on a narrow terminal, in a pipe."""

from __future__ import annotations

from rich.console import Console

from lvsd.lab import show
from lvsd.lab.lab import Lab
from lvsd.lab.plan import WAYS
from lvsd.lab.rules import Outcome
from lvsd.lab.traffic import Answer


def text_of(renderable: object, width: int = 60) -> list[str]:
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def test_the_table_of_shares_fits_sixty_columns() -> None:
    answers = [Answer("server1", "c", "c", 0.001)] * 1500 + [Answer("server2", "c", "c", 1.5)] * 500
    outcome = Outcome({"server1": 1500, "server2": 500}, answers)

    lines = text_of(show.shares(outcome, {"server1": 3, "server2": 1}))

    assert [line.split() for line in lines if "server" in line] == [
        ["server", "weight", "expected", "seen", "median", "ms", "p99", "ms"],
        ["server1", "3", "1500", "75%", "1500", "75%", "1.00", "1.00"],
        ["server2", "1", "500", "25%", "500", "25%", "1500.00", "1500.00"],
    ]
    assert max(map(len, lines)) <= 60


def test_a_server_without_requests_has_no_latency() -> None:
    lines = text_of(show.shares(Outcome({"server1": 1}), {"server1": 1}))

    assert lines[-2].split() == ["server1", "1", "1", "100%", "0", "-", "-"]


def test_the_map_fits_sixty_columns() -> None:
    lines = text_of(show.addresses(Lab(servers=3)))

    assert max(map(len, lines)) <= 60
    assert ["VIP", "198.51.100.10", "2001:db8:51::10"] in [line.split() for line in lines]


def test_the_map_of_all_ways_fits_sixty_columns_and_says_which() -> None:
    lines = text_of(show.addresses(Lab(ways=WAYS)))

    assert max(map(len, lines)) <= 60
    assert [line.split()[:2] for line in lines if "server" in line] == [
        ["server1", "nat"],
        ["server2", "dr"],
        ["server3", "tun"],
        ["server4", "fullnat"],
    ]


def test_what_the_director_wrote_is_bold() -> None:
    text = show.changed("IP a > b\n  ttl 64", "IP a > c\n  ttl 63")

    assert text.plain == "IP a > c\n  ttl 63"
    assert [text.plain[span.start : span.end] for span in text.spans] == ["c", "63"]


def test_a_header_that_was_put_in_front_is_bold_and_what_it_holds_is_not() -> None:
    before = "IPv4 a > b\n  TCP 1 > 2"
    after = "IPv4 c > d\n  IPIP length 9\n    IPv4 a > b\n      TCP 1 > 3"

    text = show.changed(before, after)

    assert text.plain == after
    bold = " ".join(text.plain[span.start : span.end] for span in text.spans)
    assert bold == "IPv4 c > d IPIP length 9 3"


def test_a_command_is_never_broken_into_lines() -> None:
    console = Console(width=20, color_system=None)
    with console.capture() as capture:
        show.command(console, "ip netns exec a curl -s http://[2001:db8::1]/")

    assert capture.get() == "  ip netns exec a curl -s http://[2001:db8::1]/\n"
