"""The demo's part on modes: who answers, the way of one packet, and whether replies bypass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvsd.explain.dissect import dissect
from lvsd.explain.output.lines import lines
from lvsd.lab import capture, modes, show
from lvsd.lab.rules import InTurn

if TYPE_CHECKING:
    from lvsd.lab.modes import Mode
    from lvsd.lab.programs import Daemon
    from lvsd.lab.stage import Stage
    from lvsd.net.links import Counts

TRIAL = InTurn("wrr", "in turn, as often as the weight says", weighted=True, count=60)
KEYS = ("forward", "tunnel", "local_addresses")
"""What is shown of the configuration: the keys that make the mode."""

FRONT = "front"


class ModeDemo:
    """One mode, on a stage whose real servers are all reached in that way."""

    def __init__(self, stage: Stage, mode: Mode) -> None:
        self.stage = stage
        self.mode = mode
        self._hidden = False

    def run(self) -> bool:
        """Show the mode; return whether all was well."""
        stage, mode = self.stage, self.mode
        stage.out.rule(f"[bold]{mode.name}: {mode.title}[/]")
        stage.say(mode.idea)
        self._hidden = bool(reason := stage.prepare())
        if mode.name == "fullnat":
            stage.say(
                f"TOA cannot be read here, so nginx sees a local address: {reason}"
                if reason
                else "nginx runs under `lvsd realserver toa run`, and sees the client."
            )
        config = stage.config(TRIAL.name)
        stage.say("What lvsd.toml says of it:")
        for line in config.splitlines():
            if line.partition(" ")[0] in KEYS:
                show.command(stage.out, line)
        return stage.play(TRIAL.name, config, self._act)

    def _act(self, _daemon: Daemon) -> list[str]:
        before = self._crossed()
        outcome = self.stage.traffic(TRIAL)
        if self._hidden:
            local = self.stage.lab.local_addresses
            outcome.seen_as = tuple(modes.of(pair, self.stage.family) for pair in local)
        after = self._crossed()
        crossed = {host: after[host] - before[host] for host in after}
        problems = outcome.judge() + self._judge_way(crossed, len(outcome.answers))
        if not problems:
            self._one_packet()
        return problems

    def _crossed(self) -> dict[str, Counts]:
        """Return what has crossed the interfaces in the client's network, by host."""
        hosts = ("director", "router") if self.mode.bypasses else ("director",)
        return {host: self.stage.lab.host(host).crossed(FRONT) for host in hosts}

    def _judge_way(self, crossed: dict[str, Counts], requests: int) -> list[str]:
        """Tell the way of the replies; return what is wrong with it.

        Each request gets more than one packet back. What an interface sends beside replies, ARP
        and the like, is less than that.
        """
        came, went = crossed["director"].received, crossed["director"].sent
        said = f"The director received {came} packets from the client and sent it {went}"
        if not self.mode.bypasses:
            self.stage.say(f"{said}: replies come back by the director.\n")
            return [] if went >= requests else ["replies did not pass the director"]
        past = crossed["router"].sent
        self.stage.say(f"{said}; the router sent it {past}: replies bypass the director.\n")
        return [] if went < requests <= past else ["replies did not bypass the director"]

    def _one_packet(self) -> None:
        stage = self.stage
        stage.say("One more request on its way; bold is what differs from the hop before:")
        if self.mode.frames:
            stage.say("(Each MAC is 02:00 and the IPv4 address behind it, in hexadecimal.)")
        source = stage.site.sources[0]
        former = ""
        mark: capture.Mark = b""
        ways = {"one more request": self.mode.hops}
        seen = capture.follow(stage.lab, ways, lambda: stage.site.visitor.get(source))
        for hop, frame in seen["one more request"]:
            ethernet, *others = lines(dissect(frame))
            text = "\n".join([ethernet, *others] if self.mode.frames else others)
            stage.out.print(f"\n[bold]{hop.name}[/] ({hop.place})")
            stage.out.print(show.changed(former if hop.mark == mark else text, text))
            former, mark = text, hop.mark
