"""The map of a lab that stands, and what there is to do in it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from lvsd.lab import modes, show
from lvsd.terminal import console

if TYPE_CHECKING:
    from lvsd.lab.director import Daemon
    from lvsd.lab.lab import Lab


def commands(lab: Lab, daemon: Daemon | None) -> dict[str, str]:
    """Return what there is to do in the lab: a sentence and a command each."""
    client, director, server = lab.client.name, lab.director.name, lab.servers[0].name
    enter = "ip netns exec"
    if daemon is None:
        return {
            "Be in the director": f"{enter} {director} bash",
            "Ask a real server itself": f"{enter} {server} curl -s http://127.0.0.1/",
        }
    ways = dict.fromkeys(space.way for space in lab.servers)
    watches = [watch for way in ways for watch in modes.MODES[way].watches]
    return {
        "Ask the virtual service": f"{enter} {client} curl -s http://{lab.vip.v4}/",
        "Ask it over IPv6": f"{enter} {client} curl -s 'http://[{lab.vip.v6}]/'",
        "Watch a packet arrive": f"{enter} {director} tcpdump -ni front port {modes.VIP_PORT}",
        **{watch.what: f"{enter} {lab.host(watch.host).name} {watch.command}" for watch in watches},
        "List the service as ipvsadm does": f"lvsadm --control {daemon.control} -L -n",
        "See who was asked": f"tail -f {lab.servers[0].directory}/access.log",
        "Read the configuration": f"cat {daemon.config_file}",
        "Read the daemon's log": f"cat {daemon.log_file}",
    }


def report(lab: Lab, daemon: Daemon | None) -> dict[str, Any]:
    """Return the map of a lab, its daemon's files and the commands, ready for JSON."""
    files: dict[str, Any] = {}
    if daemon is not None:
        files = {"config": str(daemon.config_file), "control": str(daemon.control)}
    return lab.map() | files | {"commands": commands(lab, daemon)}


def introduce(lab: Lab, daemon: Daemon | None, *, as_json: bool) -> None:
    """Print the lab's map, so that whoever reads our output knows at once that it stands."""
    if as_json:
        sys.stdout.write(json.dumps(report(lab, daemon), indent=2) + "\n")
    else:
        out = console()
        out.print(f"[bold]{lab.name}[/]: every host is a network namespace, {lab.name}-HOST.")
        out.print(show.addresses(lab))
        for text, line in commands(lab, daemon).items():
            out.print(f"{text}:")
            show.command(out, line)
    sys.stdout.flush()
