"""Which packets are taken as requests: by where they go, not by where they come from."""

from __future__ import annotations

import re

from lvsd.io.ruleset import REASSEMBLY, draft

TABLE = draft(REASSEMBLY[0], guarded=True)
CHAINS = dict(re.findall(r"^chain (\w+) \{\n(.*?)\n\}$", TABLE, re.MULTILINE | re.DOTALL))
REQUEST = re.compile(r"daddr \S+ meta l4proto|daddr . meta l4proto|meta mark @marks")


def _with_requests(statement: str) -> list[str]:
    """Return the hooks of the chains in which requests meet a statement."""
    rules = {name: chain.split("\n") for name, chain in CHAINS.items()}
    return [
        lines[0].split()[3]
        for lines in rules.values()
        if any(REQUEST.search(line) and statement in line for line in lines)
    ]


def test_requests_are_taken_before_routing_and_the_directors_own_as_they_are_sent() -> None:
    assert _with_requests("goto") == ["prerouting", "output"]


def test_conntrack_does_not_see_requests() -> None:
    assert _with_requests("notrack") == ["prerouting", "output"]


def test_what_the_director_sends_to_itself_is_taken_once() -> None:
    assert CHAINS["requests"].split("\n")[1] == 'iif "lo" goto on_loopback'
    assert not any(REQUEST.search(line) for line in CHAINS["on_loopback"].split("\n"))


def test_no_rule_asks_for_another_interface() -> None:
    assert re.findall(r"\b[io]if.*", TABLE) == ['iif "lo" goto on_loopback']


def test_of_icmpv6_the_errors_that_have_a_meaning_are_taken() -> None:
    asked = re.findall(r"icmpv6 type \{ (.*?) \}", TABLE)
    assert set(asked) == {"1, 2, 3, 4"}
