"""Where the demo plays: a lab with web servers in it, and somebody who tells what happens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lvsd.errors import KernelError
from lvsd.lab import capture, modes, programs, real_server, settings, show
from lvsd.lab.rules import Site
from lvsd.lab.traffic import Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from lvsd.lab.lab import Lab
    from lvsd.lab.modes import Family
    from lvsd.lab.programs import Daemon
    from lvsd.lab.rules import Outcome, Trial

LOG_LINES = 10


class Stage:
    """A lab that stands already, its web servers weighted, and the console to tell at."""

    def __init__(self, lab: Lab, out: Console, family: Family, weights: Sequence[int]) -> None:
        self.lab = lab
        self.out = out
        self.family = family
        self.service = modes.web(lab, family, weights=weights)
        names = (space.host for space in lab.servers)
        self.site = Site(
            dict(zip(names, self.service.servers, strict=True)),
            Visitor(lab.client, modes.of(lab.vip, family), modes.VIP_PORT),
            [modes.of(pair, family) for pair in lab.client.sources[1:]],
        )

    def prepare(self) -> str:
        """Show the hosts, and start the real servers; return what `real_server.serve` does."""
        self.out.print(show.addresses(self.lab))
        reason = real_server.serve(self.lab)
        for space in (self.lab.client, *self.lab.servers):
            capture.finish_checksums(space)
        return reason

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self.out.print(escape(text))

    def play(self, name: str, config: str, act: Callable[[Daemon], list[str]]) -> bool:
        """Run lvsd during ``act``, which returns what went wrong; tell that. True: nothing did."""
        daemon = programs.lvsd(self.lab.director, config, name)
        try:
            problems = act(daemon)
        except KernelError as error:
            problems = [str(error)]
        status = daemon.stop()
        if status:
            problems.append(f"lvsd ended with status {status} instead of 0")
        for problem in problems:
            self.out.print(f"[red]wrong:[/] {escape(problem)}")
        if problems:
            self.say("The end of the daemon's log:")
            for line in daemon.log.splitlines()[-LOG_LINES:]:
                self.out.print(f"  {line}", markup=False)
        return not problems

    def config(self, scheduler: str) -> str:
        """Return the lvsd.toml of the web site with this scheduler."""
        service = replace(self.service, scheduler=scheduler)
        return settings.toml([service], self.lab.director.directory / f"{scheduler}.sock")

    def traffic(self, trial: Trial) -> Outcome:
        """Send a trial's requests, and show who answered them."""
        count = trial.requests(self.site)
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn())
        with Progress(
            *columns, console=self.out, transient=True, disable=not self.out.is_terminal
        ) as progress:
            task = progress.add_task("requests", total=count)
            outcome = trial.run(self.site, lambda: progress.advance(task))
        self.say(f"{count} requests, {trial.traffic}:")
        self.out.print(show.shares(outcome, self.site.weights))
        return outcome
