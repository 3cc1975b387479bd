"""What every mode does to packets, hop by hop, against what the sender wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lvsd.lab.plan import BACK, FAR, FRONT
from tests.netns.modes.hops import ANY
from tests.netns.modes.hops_fullnat import heard, told
from tests.netns.modes.hops_table import Hop, Table, destination, less, source
from tests.netns.modes.hops_talk import TOS
from tests.netns.traffic.site import of

if TYPE_CHECKING:
    from lvsd.lab.plan import Network
    from tests.netns.modes.hops import Fields
    from tests.netns.modes.hops_table import Talk
    from tests.netns.traffic.site import Family

GUE_PORTS: Final = range(32768, 65536)


def table(talk: Talk) -> Table:
    """Return the table of a conversation's mode."""
    return {"nat": _nat, "dr": _dr, "tun": _tun, "fullnat": _fullnat}[talk.case.way](talk)


def _asked(talk: Talk) -> tuple[Hop, Hop]:
    """Return the way of a request to the director, which is the same in every mode."""
    sent = talk.frame(FRONT, "client", "director") | source(talk.client) | destination(talk.virtual)
    return (
        Hop(talk.place("client"), sent | {"ttl": 64, "outer": None}),
        Hop(talk.place("director", "front"), {}),
    )


def _nat(talk: Talk) -> Table:
    passed_on = talk.frame(BACK, "director", "server") | destination(talk.real) | {"ttl": less(1)}
    answered = talk.frame(BACK, "server", "director") | source(talk.real) | destination(talk.client)
    returned = talk.frame(FRONT, "director", "client") | source(talk.virtual) | {"ttl": less(1)}
    return Table(
        request=(
            *_asked(talk),
            Hop(talk.place("director", "back"), passed_on),
            Hop(talk.place("server"), passed_on),
        ),
        reply=(
            Hop(talk.place("server"), answered),
            Hop(talk.place("director", "back")),
            Hop(talk.place("director", "front"), returned),
            Hop(talk.place("client"), returned),
        ),
    )


def _past_the_director(talk: Talk, network: Network) -> tuple[Hop, ...]:
    """Return the way of a reply by the router: of DR and TUN."""
    sent = talk.frame(network, "server", "router") | source(talk.virtual)
    returned = talk.frame(FRONT, "router", "client") | {"ttl": less(1)}
    return (
        Hop(talk.place("server"), sent | destination(talk.client)),
        Hop(talk.place("router", network.name)),
        Hop(talk.place("router", "front"), returned),
        Hop(talk.place("client"), returned),
    )


def _dr(talk: Talk) -> Table:
    passed_on = talk.frame(BACK, "director", "server") | {"ttl": less(1)}
    return Table(
        request=(
            *_asked(talk),
            Hop(talk.place("director", "back"), passed_on),
            Hop(talk.place("server"), passed_on),
        ),
        reply=_past_the_director(talk, BACK),
    )


def _tun(talk: Talk) -> Table:
    wrapped = talk.frame(BACK, "director", "router") | {"ttl": less(1), "outer": _outer(talk, 63)}
    arrived = talk.frame(FAR, "router", "server") | {"ttl": less(1), "outer": _outer(talk, 62)}
    return Table(
        request=(
            *_asked(talk),
            Hop(talk.place("director", "back"), wrapped),
            Hop(talk.place("router", "far"), arrived),
            Hop(talk.place("server"), arrived),
            Hop(
                talk.place("server", ANY),
                {"ttl": less(1), "outer": None, "from_mac": "", "to_mac": ""},
            ),
        ),
        reply=_past_the_director(talk, FAR),
    )


def _outer(talk: Talk, ttl: int) -> Fields:
    """Return what a tunnel's own headers are to say, as `outer_seen` sums it up."""
    case, inner = talk.case, talk.family
    to = talk.real[0]
    family: Family = "v6" if ":" in to else "v4"
    dont_fragment = (inner, talk.protocol) == ("v4", "tcp")
    between: Fields = {
        "ipip": {"kind": "ipip", "protocol": {"v4": 4, "v6": 41}[inner]},
        "gre": {
            "kind": "gre",
            "protocol": 47,
            "ethertype": {"v4": 0x0800, "v6": 0x86DD}[inner],
            "has_checksum": case.checksum,
        },
        "gue": {
            "kind": "gue",
            "protocol": 17,
            "header": bytes((0, {"v4": 4, "v6": 41}[inner], 0, 0)),
            "has_checksum": case.checksum,
            "source_port": "one, and ephemeral",
        },
    }[case.kind]
    header: Fields = {
        "family": family,
        "source": of(talk.lab.director.interface("back"), family),
        "destination": to,
        "ttl": ttl,
        "tos": TOS[talk.protocol],
    }
    if family == "v6":
        return header | between | {"flow_label": 0}
    return (
        header
        | between
        | {
            "dont_fragment": dont_fragment,
            "identification": "none" if dont_fragment else "some",
            "ip_options": b"",
        }
    )


def outer_seen(packets: list[Fields]) -> list[Fields]:
    """Return packets with what nobody can foretell of their tunnels put in words.

    An identification is needed where routers may fragment; a GUE port stands for a flow.
    """
    ports = {each["outer"].get("source_port") for each in packets if each["outer"]}
    is_one = len(ports) == 1 and all(port in GUE_PORTS for port in ports)
    summed = []
    for each in packets:
        outer = each["outer"]
        if outer is not None:
            outer = dict(outer)
            if "identification" in outer:
                outer["identification"] = "some" if outer["identification"] else "none"
            if "source_port" in outer:
                outer["source_port"] = "one, and ephemeral" if is_one else sorted(ports)
        summed.append(each | {"outer": outer})
    return summed


def _fullnat(talk: Talk) -> Table:
    assert talk.local is not None
    passed_on = (
        talk.frame(BACK, "director", "router")
        | source(talk.local)
        | destination(talk.real)
        | {"ttl": less(1)}
    )
    arrived = passed_on | talk.frame(FAR, "router", "server") | {"ttl": less(2)}
    answered = talk.frame(FAR, "server", "router") | source(talk.real) | destination(talk.local)
    routed = talk.frame(BACK, "router", "director") | {"ttl": less(1)}
    returned = (
        talk.frame(FRONT, "director", "client")
        | source(talk.virtual)
        | destination(talk.client)
        | {"ttl": less(2)}
    )
    asked, answers = told(talk), heard(talk)
    return Table(
        request=(
            *_asked(talk),
            Hop(talk.place("director", "back"), passed_on, asked),
            Hop(talk.place("router", "far"), arrived, asked),
            Hop(talk.place("server"), arrived, asked),
        ),
        reply=(
            Hop(talk.place("server"), answered),
            Hop(talk.place("router", "far")),
            Hop(talk.place("director", "back"), routed),
            Hop(talk.place("director", "front"), returned, answers),
            Hop(talk.place("client"), returned, answers),
        ),
    )
