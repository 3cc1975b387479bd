"""``lvsd demo``: real HTTP requests through lvsd to three web servers, four schedulers.

Exit status 0 says that every request went where the scheduler's rule sends it, 1 that not all
did; which is said, with the daemon's log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lvsd.errors import KernelError
from lvsd.lab import capture, programs, settings, show
from lvsd.lab.arguments import Parser
from lvsd.lab.lab import Lab
from lvsd.lab.rules import TRIALS, Site
from lvsd.lab.signals import Terminated
from lvsd.lab.traffic import Visitor
from lvsd.packet.pretty import pretty_lines

if TYPE_CHECKING:
    from rich.console import Console

    from lvsd.lab.plan import Addresses
    from lvsd.lab.rules import Outcome, Trial

WEIGHTS = (3, 2, 1)
VIP_PORT = 80
SERVER_PORT = 8080
"""Not the VIP's, so that NAT is seen to map ports."""

LOG_LINES = 10


def main(argv: list[str]) -> int:
    """Run the demo and return the exit status. Raise LvsdError when it cannot be run."""
    parser = Parser(prog="lvsd demo", description="Show lvsd at work; needs root, takes seconds.")
    parser.add_argument("-6", "--ipv6", action="store_true", help="do it all over IPv6")
    options = parser.parse_args(argv)
    out = show.console()
    try:
        with Lab(name="lvsd-demo", servers=len(WEIGHTS)) as lab:
            return Demo(lab, out, ipv6=options.ipv6).run()
    except Terminated as end:
        return end.exit_status


class Demo:
    """The demo in a lab that stands already."""

    def __init__(self, lab: Lab, out: Console, *, ipv6: bool = False) -> None:
        self.lab = lab
        self.out = out
        self.ipv6 = ipv6
        self.site = Site(
            {
                space.host: settings.RealServer(
                    settings.at(self._family(space.addresses), SERVER_PORT), weight
                )
                for space, weight in zip(lab.servers, WEIGHTS, strict=True)
            },
            Visitor(lab.client, self._family(lab.vip), VIP_PORT),
            [self._family(pair) for pair in lab.client.sources[1:]],
        )

    def run(self) -> int:
        """Show every trial; return 0 if all came out as their rules say, else 1."""
        self._say(
            f"A client, a director and {len(WEIGHTS)} web servers (nginx), each in a network "
            f"namespace of its own. The client knows only the VIP, {self.site.visitor.vip}."
        )
        self.out.print(show.addresses(self.lab))
        for space in self.lab.servers:
            programs.nginx(space)
        for space in (self.lab.client, *self.lab.servers):
            capture.finish_checksums(space)
        failed = [trial.name for number, trial in enumerate(TRIALS) if not self._show(number)]
        self._how_to_go_on()
        if failed:
            self.out.print(f"[bold red]Not as it should be: {', '.join(failed)}[/]")
            return 1
        self.out.print("[bold green]Every request went where its scheduler sends it.[/]")
        return 0

    def _show(self, number: int) -> bool:
        """Show one trial; return whether all was well."""
        trial = TRIALS[number]
        self.out.rule(f"[bold]{trial.name}[/]")
        self._say(f"{trial.name}: {trial.rule}.")
        daemon = programs.lvsd(self.lab.director, self._config(trial), trial.name)
        if number == 0:
            self._say(
                "The director runs `lvsd -c lvsd.toml` with this file; "
                "later only the scheduler is another:"
            )
            show.listing(self.out, daemon.config_file.read_text("utf-8"))
        problems = []
        try:
            outcome = self._traffic(trial)
            self.out.print(show.shares(outcome, self.site.weights))
            problems += outcome.judge()
            if number == 0 and not problems:
                self._one_packet()
        except KernelError as error:
            problems.append(str(error))
        status = daemon.stop()
        if status:
            problems.append(f"lvsd ended with status {status} instead of 0")
        for problem in problems:
            self.out.print(f"[red]wrong:[/] {escape(problem)}")
        if problems:
            self._say("The end of the daemon's log:")
            for line in daemon.log.splitlines()[-LOG_LINES:]:
                self.out.print(f"  {line}", markup=False)
        return not problems

    def _traffic(self, trial: Trial) -> Outcome:
        count = trial.requests(self.site)
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
        with Progress(
            *columns, console=self.out, transient=True, disable=not self.out.is_terminal
        ) as progress:
            task = progress.add_task("requests", total=count)
            outcome = trial.run(self.site, lambda: progress.advance(task))
        self._say(f"{count} requests, {trial.traffic}:")
        return outcome

    def _one_packet(self) -> None:
        source = self.site.sources[0]
        self._say("One more request, as it crosses the director; bold is what differs after:")
        hops = capture.watch(self.lab.director, lambda: self.site.visitor.get(source))
        for (name, before), (later, after) in (hops[:2], hops[2:]):
            self.out.print(f"\n[bold]{name}[/]")
            self._say(pretty_lines(before))
            self.out.print(f"[bold]{later}[/]")
            self.out.print(show.changed(pretty_lines(before), pretty_lines(after)))

    def _config(self, trial: Trial) -> str:
        service = settings.Service(
            name="web",
            address=settings.at(self.site.visitor.vip, VIP_PORT),
            servers=tuple(self.site.servers.values()),
            scheduler=trial.name,
        )
        return settings.toml([service], self.lab.director.directory / f"{trial.name}.sock")

    def _family(self, pair: Addresses) -> str:
        return pair.v6 if self.ipv6 else pair.v4

    def _how_to_go_on(self) -> None:
        self.out.rule("[bold]How to go on[/]")
        for text, line in (
            ("Stay in such a lab and look around:", "lvsd lab"),
            (
                "Run one command there, as the client:",
                f"lvsd lab --scheduler rr -- curl -s http://{self.lab.vip.v4}/",
            ),
            ("The same demo over IPv6:", "lvsd demo --ipv6"),
            ("Check a configuration of your own:", "lvsd -t -c lvsd.toml"),
        ):
            self.out.print(text)
            show.command(self.out, line)

    def _say(self, text: str) -> None:
        self.out.print(escape(text))
