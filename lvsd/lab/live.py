"""One connection through a lab that stands, explained by the frames that were on its wires."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forwarders import FORWARDERS
from forwarders.base import Ends
from lvsd.core.path import Exit
from lvsd.explain.dissect import dissect
from lvsd.explain.making import Question, make
from lvsd.explain.model import Explanation, Hop, Host, role_of
from lvsd.explain.outcome import PAST, sent
from lvsd.explain.places import SERVER, TUNNEL, places
from lvsd.explain.story import explain_case
from lvsd.explain.trail import MACS, framed, journey
from lvsd.lab import capture, modes, programs, real_server, settings
from lvsd.lab.build import mac
from lvsd.lab.lab import Lab
from lvsd.lab.segments import DIRECTIONS, Kind, is_a
from lvsd.lab.talk import Talk
from lvsd.packet.address import pack, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forwarders.plan import Plan
    from lvsd.explain.model import Choice, Entry, Journey
    from lvsd.lab.modes import Family
    from lvsd.lab.namespace import Namespace

SERVERS: Final = 3

LEAVING: Final = {
    "nat": Exit.VERDICT,
    "dr": Exit.FRAME,
    "tun": Exit.TUNNEL,
    "fullnat": Exit.TRANSLATED,
}


def live(mode: str, family: Family = "v4", scheduler: str = "wlc") -> Explanation:
    """Build a lab of this mode, make one HTTP request there, and explain what was seen.

    The entries are the daemon's own, asked while the connection lasts: those of "ACK", of
    "HTTP reply" and of the last FIN. The plan is the forwarder's for the ends that they name. The
    scheduler's choice is reckoned anew, of the same servers and none asked before; it is None
    where that is not what the daemon picked. Raise UsageError for a scheduler that there is not,
    else as `Lab` does, and KernelError when a packet was not seen where it should be.
    """
    settings.check_scheduler(scheduler)
    with Lab(name="lvsd-live", ways=(mode,) * SERVERS) as lab:
        real_server.serve(lab)
        for space in (lab.client, *lab.servers):
            capture.finish_checksums(space)
        service = modes.web(lab, family, scheduler=scheduler)
        config = settings.toml([service], lab.director.directory / "lvsd.sock")
        daemon = programs.lvsd(lab.director, config)
        talk = Talk(lab, daemon, family)
        ways = {kind: _way(lab, mode, family, kind) for kind in DIRECTIONS}
        seen = capture.follow(lab, ways, talk.run)
        return _Account(lab, mode, family, service, talk).explanation(seen)


@dataclass
class _Account:
    """What was seen, put together."""

    lab: Lab
    mode: str
    family: Family
    service: settings.Service
    talk: Talk

    def explanation(self, seen: dict[Kind, list[tuple[capture.Hop, bytes]]]) -> Explanation:
        """Return the connection as its frames tell it."""
        entry = self.talk.entries["ACK"]
        server = self._server(entry.real)
        plan = self._plan(entry)
        journeys = [self._journey(kind, at, server.host, plan) for kind, at in seen.items()]
        return Explanation(
            self.mode,
            "tcp",
            self.service.address,
            tuple(_hosts(self.lab, self.family)),
            self._choice(entry),
            plan,
            tuple(journeys),
        )

    def _server(self, real: str) -> Namespace:
        ends = [server.address for server in self.service.servers]
        return self.lab.servers[ends.index(real)]

    def _plan(self, entry: Entry) -> Plan:
        forwarder = FORWARDERS[self.mode]()
        local = None
        if entry.local:
            local = parse_endpoint(entry.local)
        elif forwarder.needs_source:
            local = pack(modes.of(self.lab.director.interface("back"), self.family)), 0
        return forwarder.plan(
            Ends(
                *parse_endpoint(entry.virtual),
                *parse_endpoint(entry.real),
                local,
                parse_endpoint(entry.client),
            )
        )

    def _choice(self, entry: Entry) -> Choice | None:
        """Return why that real server, if the same rule picks it again."""
        servers = [server.address for server in self.service.servers]
        question = Question(
            self.mode,
            vip=self.service.address,
            client=entry.client,
            servers=servers,
            scheduler=self.service.scheduler,
        )
        choice = explain_case(make(question)).choice
        picked = [each.server for each in choice.candidates if each.picked] if choice else []
        return choice if picked == [f"{self._server(entry.real).host} {entry.real}"] else None

    def _journey(
        self, kind: Kind, seen_at: Sequence[tuple[capture.Hop, bytes]], server: str, plan: Plan
    ) -> Journey:
        """Return one packet's way, with what changed from hop to hop."""
        direction = DIRECTIONS[kind]
        hops = [
            Hop(
                server if seen.host == SERVER else seen.host,
                seen.interface,
                seen.name,
                dissect(data),
            )
            for seen, data in _framed(seen_at)
        ]
        is_past = plan.reply is None and direction == "reply"
        outcome = PAST if is_past else sent(LEAVING[self.mode])
        return journey(kind, direction, hops, outcome, plan, self.talk.entries.get(kind))


def _way(lab: Lab, mode: str, family: Family, kind: Kind) -> list[capture.Hop]:
    """Return where a packet comes by in this mode."""
    shown = is_a(kind, {modes.VIP_PORT, modes.MODES[mode].port})
    return [
        capture.Hop(
            place.title,
            place.host,
            _tunnel(lab.servers[0], family) if place.interface == TUNNEL else place.interface,
            shown,
        )
        for place in places(mode, DIRECTIONS[kind])
    ]


def _tunnel(server: Namespace, family: Family) -> str:
    """Return the interface where packets come out of a tunnel, alike on all real servers.

    lvsd's own, or the kernel's: see `lvsd.realserver.kernel_devices`.
    """
    names = server.run(["ls", "/proc/sys/net/ipv4/conf"]).stdout.split()
    own = {"v4": "lvsd-ipip", "v6": "lvsd-ip6tnl"}[family]
    return own if own in names else "lvsd-tunnel"


def _framed(seen_at: Sequence[tuple[capture.Hop, bytes]]) -> Iterator[tuple[capture.Hop, bytes]]:
    """Yield the frames; what came out of a tunnel behind the MACs that it came with."""
    macs = b""
    for hop, data in seen_at:
        if hop.interface.startswith("lvsd-"):
            yield hop, framed(macs, data)
        else:
            macs = data[MACS]
            yield hop, data


def _hosts(lab: Lab, family: Family) -> Iterator[Host]:
    for node in lab.topology.nodes:
        yield Host(
            node.name,
            role_of(node.name),
            tuple(
                (link.interface, modes.of(link.addresses[0], family), mac(link))
                for link in node.links
            ),
        )
