"""``lvsd demo``: real HTTP requests through lvsd to web servers, in four modes by four schedulers.

Exit status 0 says that every request went where the scheduler's rule sends it and every reply
took the way of its mode, 1 that not all did; which is said, with the daemon's log.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lvsd.arguments import Parser
from lvsd.lab import show
from lvsd.lab.demo_modes import ModeDemo
from lvsd.lab.lab import Lab
from lvsd.lab.modes import MODES
from lvsd.lab.rules import TRIALS
from lvsd.lab.stage import Stage
from lvsd.signals import Terminated
from lvsd.terminal import console

if TYPE_CHECKING:
    from rich.console import Console

    from lvsd.lab.modes import Family
    from lvsd.lab.programs import Daemon
    from lvsd.lab.rules import Trial

NAME = "lvsd-demo"
WEIGHTS = (3, 2, 1)


def main(argv: list[str]) -> int:
    """Run the demo and return the exit status. Raise LvsdError when it cannot be run."""
    parser = Parser(prog="lvsd demo", description="Show lvsd at work; needs root, takes seconds.")
    parser.add_argument("-6", "--ipv6", action="store_true", help="do it all over IPv6")
    parser.add_argument("--mode", choices=tuple(MODES), help="show this mode only")
    options = parser.parse_args(argv)
    family: Family = "v6" if options.ipv6 else "v4"
    try:
        return run(console(), family, options.mode)
    except Terminated as end:
        return end.exit_status


def run(out: Console, family: Family, only: str | None = None) -> int:
    """Show the modes, then the schedulers, or only one mode; return 0 if all was well, else 1."""
    out.print(
        f"A client, a director and {len(WEIGHTS)} web servers (nginx), each in a network namespace "
        "of its own. The client knows only the VIP, a virtual address."
    )
    failed = []
    for name in [only] if only else MODES:
        with Lab(name=NAME, ways=(name,) * len(WEIGHTS)) as lab:
            if not ModeDemo(Stage(lab, out, family, WEIGHTS), MODES[name]).run():
                failed.append(name)
    if not only:
        with Lab(name=NAME, servers=len(WEIGHTS)) as lab:
            failed += schedulers(Stage(lab, out, family, WEIGHTS))
        how_to_go_on(out)
    if failed:
        out.print(f"[bold red]Not as it should be: {', '.join(failed)}[/]")
        return 1
    out.print("[bold green]Every request went where its scheduler sends it.[/]")
    return 0


def schedulers(stage: Stage) -> list[str]:
    """Show the schedulers; return the names of those with which not all was well."""
    stage.out.rule("[bold]Schedulers, with nat[/]")
    stage.prepare()
    return [trial.name for trial in TRIALS if not _show(stage, trial)]


def how_to_go_on(out: Console) -> None:
    """Print commands to try."""
    out.rule("[bold]How to go on[/]")
    if folder := _unknown_folder():
        out.print("Let the shell find lvsd:")
        show.command(out, f'export PATH="$PWD/{folder}:$PATH"')
    for text, line in (
        ("Stay in such a lab and look around:", "lvsd lab --mode dr --shell"),
        ("With a server of each mode:", "lvsd lab --mode mixed"),
        (
            "Run one command there, as the client:",
            "lvsd lab --scheduler rr -- sh -c 'curl -s http://$VIP/'",
        ),
        ("The same demo over IPv6:", "lvsd demo --ipv6"),
        ("Check a configuration of your own:", "lvsd -t -c lvsd.toml"),
    ):
        out.print(text)
        show.command(out, line)


def _unknown_folder() -> str:
    """Return where below here lvsd is, if a shell would not find it by its name alone."""
    folder, here = Path(sys.executable).parent, Path.cwd()
    if shutil.which("lvsd") or not (folder / "lvsd").exists() or not folder.is_relative_to(here):
        return ""
    return str(folder.relative_to(here))


def _show(stage: Stage, trial: Trial) -> bool:
    """Show one trial; return whether all was well."""
    stage.out.rule(f"[bold]{trial.name}[/]")
    stage.say(f"{trial.name}: {trial.rule}.")

    def act(daemon: Daemon) -> list[str]:
        if trial is TRIALS[0]:
            stage.say(
                "The director runs `lvsd -c lvsd.toml` with this file; "
                "later only the scheduler is another:"
            )
            show.listing(stage.out, daemon.config_file.read_text("utf-8"))
        return stage.traffic(trial).judge()

    return stage.play(trial.name, stage.config(trial.name), act)
