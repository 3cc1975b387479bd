"""``lvsadm watch``: a line for each change of services and real servers, as it happens.

Exit status: 130 Ctrl-C; 1 the daemon cannot be reached, or refused; 2 the command line is wrong;
3 the daemon has ended, or hung up.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from lvsd.control.client import ControlClient
from lvsd.control.own_commands import Parser
from lvsd.control.protocol import LOST, UPGRADING
from lvsd.errors import ControlError
from lvsd.packet.address import endpoint, pack
from lvsd.printable import printable, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

UNREACHABLE: Final = 1
ENDED: Final = 3
INTERRUPTED: Final = 130

TIMEOUTS: Final = ("tcp", "tcpfin", "udp")

HEALTH: Final = {
    "up": "up: it gets connections again",
    "standby": "standby: no new connections, as long as it is not needed",
    "quiesced": "quiesced: no new connections, and UDP goes elsewhere",
    "removed": "removed: nothing that clients send gets there",
}


def main(words: Sequence[str]) -> int:
    """Carry out a command line that begins with ``watch``; return the status. Raise UsageError."""
    parser = Parser(
        "watch",
        "Print a line for each change of services and real servers, as it happens.",
        "130 Ctrl-C; 1 lvsd cannot be reached; 2 usage; 3 lvsd has ended.",
    )
    parser.add_argument("--json", action="store_true", help="an object per line, for programs")
    given = parser.parse_args(words[1:])
    try:
        return _watch(given.control, to_json if given.json else None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not flush into the pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ControlError as error:
        sys.stderr.write(f"{printable(str(error))}\n")
        return UNREACHABLE


def _watch(control: Path, write: Callable[[object], str] | None) -> int:
    """Print what changes until the daemon ends. Raise ControlError where there is none."""
    with ControlClient(control) as client:
        events = client.events()
        if write is None:
            write = Teller(_names(control)).line
        is_upgraded = False
        try:
            for event in events:
                is_upgraded = event["change"] == UPGRADING
                sys.stdout.write(f"{write(event)}\n")
                sys.stdout.flush()
        except ControlError as error:
            ended = f"lvsd has ended, or hung up: no more changes are told ({error})"
            if is_upgraded:
                ended = "lvsd goes on with other code, and has hung up: begin anew to see more"
            sys.stderr.write(f"{printable(ended)}\n")
    return ENDED


def _names(control: Path) -> dict[str, str]:
    """Return the names of the services that have one."""
    with ControlClient(control) as client:
        return {label(each): each["name"] for each in client.items("list") if each["name"]}


def label(service: Mapping[str, Any]) -> str:
    """Return the protocol and endpoint of a service, or its mark."""
    if service.get("fwmark"):
        return f"mark {service['fwmark']}" + (" IPv6" if service.get("family") == 6 else "")
    return f"{service['protocol']} {_end(service)}"


def _end(entry: Mapping[str, Any]) -> str:
    return endpoint(pack(entry["address"]), entry["port"])


class Teller:
    """Puts events into words; ``names`` are those of services by their `label`."""

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def line(self, event: object) -> str:
        """Return the line of an event, with the time of day."""
        if not isinstance(event, dict):
            raise TypeError(event)
        return printable(f"{time.strftime('%H:%M:%S')} {self.told(event)}")

    def told(self, event: dict[str, Any]) -> str:
        """Return an event in words."""
        what = str(event["change"])
        self._learn(event)
        told = "".join((*self._place(what, event), *self._rest(what, event)))
        by = event.get("by")
        if what == "service_removed":
            self._names.pop(label(event["service"]), None)
        return f"{told} (by {by})" if by else told

    def _learn(self, event: dict[str, Any]) -> None:
        after = event.get("after")
        if str(event["change"]).startswith("service_") and isinstance(after, dict):
            self._names[label(event["service"])] = str(after.get("name", ""))

    def _place(self, what: str, event: dict[str, Any]) -> Iterator[str]:
        yield what.replace("_", " ")
        if "server" in event:
            yield f" {_end(event['server'])} of"
        if "service" in event:
            service = label(event["service"])
            name = self._names.get(service)
            yield f" {name} ({service})" if name else f" {service}"

    @staticmethod
    def _rest(what: str, event: dict[str, Any]) -> Iterator[str]:
        match what:
            case "server_drained" if "deadline_s" in event:
                yield f": what is left ends after {event['deadline_s']} s"
            case "health":
                yield f": {HEALTH.get(event['health'], event['health'])}"
            case "server_empty":
                yield ": it has no connections"
                if event.get("cut"):
                    yield f", {event['cut']} were cut at the deadline"
            case "timeouts_edited":
                news = zip(TIMEOUTS, event["before"], event["after"], strict=True)
                yield ": " + ", ".join(
                    f"{word} {old} -> {new} s" for word, old, new in news if old != new
                )
            case "zeroed" if "service" not in event:
                yield ": all counters"
            case _ if what == UPGRADING:
                yield ": lvsd goes on with the code that is installed now, and hangs up"
            case _ if what == LOST:
                yield f": {event.get('count')} changes came faster than they were taken"
            case _:
                yield from _news(event.get("before"), event.get("after"))


def _news(before: object, after: object) -> Iterator[str]:
    """Yield what an edit changed, old and new, or the main options of what was added."""
    if not isinstance(after, dict):
        return
    if isinstance(before, dict):
        news = [
            f"{word} {_shown(before.get(word))} -> {_shown(after.get(word))}"
            for word in {**before, **after}
            if before.get(word) != after.get(word)
        ]
    else:
        words = ("scheduler", "forward", "weight")
        news = [f"{word} {after[word]}" for word in words if word in after]
    if news:
        yield ": " + ", ".join(news)


def _shown(value: object) -> str:
    return value or '""' if isinstance(value, str) else to_json(value)
