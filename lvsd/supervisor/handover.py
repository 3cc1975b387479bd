"""What a supervisor leaves to the one that runs in its place after `lvsd upgrade`: JSON, versioned.

The process stays the same, and its program is another (execve(2)). What it knows lies in a file in
memory (memfd_create(2)), whose descriptor an environment variable names; what it holds goes along
as descriptors that stay open, and that the file names:

===================  =========================================================================
``control``          the control socket, on which clients wait meanwhile
``client``           the one that asked for the upgrade, and gets the answer
``table``            the netlink socket that the nftables table ends with
``engine``           our end of the engine's socket pair
``engine_process``   a pidfd of the engine
``forker``           our end of the forker's socket pair
===================  =========================================================================

Services and real servers are said in the words of the control protocol, the configuration in those
of its file; so a version that knows more reads it, too. What is said to the engine of the version
before was written by that (``farewell``).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lvsd import __version__
from lvsd.assembly import nothing_of, wanted_of
from lvsd.config.faults import dotted
from lvsd.config.load import validate
from lvsd.control.changes import TIMEOUTS, selector, written_server, written_service
from lvsd.control.requests import read_commands
from lvsd.core.commands import AddServer, AddService, Drain, SetHealth, SetTimeouts, Undrain
from lvsd.core.snapshot import FORMAT as STATE_FORMAT
from lvsd.core.snapshot import SLOT
from lvsd.core.values import Health
from lvsd.documents import whole
from lvsd.errors import ControlError, LvsdError
from lvsd.garbage import without_collections
from lvsd.packet.address import text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvsd.config import model
    from lvsd.core.commands import Command
    from lvsd.core.wanted import Wanted

FORMAT: Final = 2

ENDS: Final = ("control", "client", "table", "engine", "engine_process", "forker")

_MAGIC: Final = "lvsd hand-over"


class HandoverError(LvsdError):
    """What is handed over cannot be gone on with; the message says why."""

    exit_status = os.EX_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Handover:
    """All of it, in JSON's words; see `written` and `read`."""

    document: dict[str, Any]
    """The configuration that is in force, in the words of its file."""
    commands: list[Any]
    """What is wanted, without drains and health: commands of the control protocol."""
    drains: list[Any]
    """``drain`` commands, each in a list with since when, on the monotonic clock."""
    health: list[Any]
    """Real servers that are not up: each with its ``service``, ``server`` and ``health``."""
    began: float
    """When lvsd was started, on the monotonic clock."""
    queue: int
    """The NFQUEUE that packets come by."""
    ports: dict[str, Any]
    """What `lvsd.supervisor.own_ports.OwnPorts` has done."""
    counters: dict[str, Any]
    """What of the counters goes on: reloads, upgrades."""
    by: str = ""
    """Who asked for the upgrade."""
    forker: int = 0
    """The forker's process."""
    farewell: str = ""
    """What the engine is to be sent, in hexadecimal, to write down its state and end."""
    descriptors: Mapping[str, int] | None = None
    version: str = __version__
    """The one that hands over."""


def described(wanted: Wanted, config: model.Config, **more: Any) -> Handover:
    """Return what there is to know of what is wanted, and of the configuration in force."""
    with without_collections():
        drains = [each for each in wanted.commands() if isinstance(each, Drain)]
        return Handover(
            document=whole(wanted_of(config), config),
            commands=list(_written(wanted)),
            drains=[[_drain(each), each.since] for each in drains],
            health=[_health(each) for each in wanted.commands() if isinstance(each, SetHealth)],
            **more,
        )


def _written(wanted: Wanted) -> Iterator[dict[str, object]]:
    for command in wanted.commands():
        match command:
            case SetTimeouts():
                yield {"command": "set_timeouts"} | dict(
                    zip(TIMEOUTS, wanted.timeouts, strict=True)
                )
            case AddService(config):
                service = written_service(config)
                if not service["prefix"]:
                    del service["prefix"]  # a request says none by leaving it out
                yield {"command": "add_service", "service": service}
            case AddServer(key, server):
                yield {
                    "command": "add_server",
                    "service": selector(key),
                    "server": written_server(server),
                }


def _drain(drain: Drain) -> dict[str, object]:
    found = {"command": "drain"} | _place(drain)
    return found if drain.deadline_s is None else found | {"deadline_s": drain.deadline_s}


def _health(command: SetHealth) -> dict[str, object]:
    return _place(command) | {"health": command.health.value}


def _place(command: Drain | SetHealth) -> dict[str, object]:
    return {
        "service": selector(command.service),
        "server": {"address": text(command.address), "port": command.port},
    }


def written(handover: Handover) -> bytes:
    """Return it as it is handed over."""
    formats = {"handover": _MAGIC, "format": FORMAT, "state_format": [STATE_FORMAT, SLOT]}
    content = {word: getattr(handover, word) for word in _KINDS}  # asdict() copies all of it
    return json.dumps(formats | content).encode()


def read(data: bytes) -> Handover:
    """Return what was handed over. Raise HandoverError where it is not for this version."""
    try:
        with without_collections():
            content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HandoverError(f"what is handed over is no JSON, or cut off: {error}") from error
    if not isinstance(content, dict) or content.pop("handover", None) != _MAGIC:
        raise HandoverError("what is handed over is not lvsd's")
    before = content.get("version")
    if content.pop("format", None) != FORMAT:
        raise HandoverError(
            f"lvsd {before} hands over in another format than {__version__} takes: restart lvsd"
        )
    if content.pop("state_format", None) != [STATE_FORMAT, SLOT]:
        raise HandoverError(
            f"lvsd {__version__} does not read the connections of lvsd {before}: restart lvsd"
        )
    for word, kind in _KINDS.items():
        if not isinstance(content.get(word), kind):
            raise HandoverError(f"what is handed over lacks {word}, or has something else there")
    return Handover(**{word: content[word] for word in _KINDS})


_KINDS: Final[dict[str, Any]] = {
    "document": dict,
    "commands": list,
    "drains": list,
    "health": list,
    "began": (int, float),
    "queue": int,
    "ports": dict,
    "counters": dict,
    "by": str,
    "forker": int,
    "farewell": str,
    "descriptors": (dict, type(None)),
    "version": str,
}
"""What each word of it holds."""


def taken(handover: Handover) -> tuple[model.Config, list[Command]]:
    """Return the configuration in force, and the commands that make what is wanted of nothing.

    Raise HandoverError where this version refuses them.
    """
    with without_collections():
        config, faults = validate(handover.document)
        if config is None:
            told = "; ".join(f"{dotted(each.key)}: {each.text}" for each in faults[:3])
            raise HandoverError(f"lvsd {__version__} refuses the configuration in force: {told}")
        try:
            found = [
                *read_commands({"commands": handover.commands}),
                *_drains(handover.drains),
                *_unwell(handover.health),
            ]
        except (ControlError, ValueError, KeyError, TypeError) as error:
            raise _refused(error) from error
    return config, found


def examine(data: bytes) -> None:
    """Raise HandoverError where this version would not go on with what it would be handed over."""
    config, found = taken(read(data))
    try:
        for _ in nothing_of(config).beginning(found):
            pass
    except ControlError as error:
        raise _refused(error) from error


def _refused(error: Exception) -> HandoverError:
    return HandoverError(f"lvsd {__version__} refuses what runs: {error}")


def _drains(given: list[Any]) -> Iterator[Command]:
    for command, since in given:
        (drain,) = read_commands({"commands": [command]})
        if not isinstance(drain, Drain) or not isinstance(since, float | int | None):
            raise TypeError("no drain among the drains")
        yield replace(drain, since=since)


def _unwell(given: list[Any]) -> Iterator[Command]:
    """Yield the commands for servers that are not up, which the control protocol has none for."""
    for each in given:
        place = {"service": each["service"], "server": each["server"]}
        (found,) = read_commands({"commands": [{"command": "undrain"} | place]})
        if isinstance(found, Undrain):
            yield SetHealth(found.service, found.address, found.port, Health(each["health"]))


def received(descriptor: str) -> Handover:
    """Return what was handed over to this process. Raise HandoverError.

    From now on no program that is started gets the descriptors.
    """
    try:
        with open(int(descriptor), "rb") as file:  # noqa: PTH123 - a descriptor
            file.seek(0)
            handover = read(file.read())
        given = handover.descriptors or {}
        if set(given) != {*ENDS}:
            raise HandoverError("descriptors are missing in what is handed over")
        for each in given.values():
            os.set_inheritable(each, False)
    except (OSError, ValueError, TypeError) as error:
        raise HandoverError(f"what is handed over cannot be read: {error}") from error
    return handover


def passed_on(handover: Handover) -> int:
    """Return a descriptor for the next program to read it by; those in it go along.

    Raise OSError.
    """
    descriptor = os.memfd_create("lvsd-handover", 0)
    try:
        data = memoryview(written(handover))
        while data:
            data = data[os.write(descriptor, data) :]
        for each in (handover.descriptors or {}).values():
            os.set_inheritable(each, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def kept_back(handover: Handover, descriptor: int) -> None:
    """Undo `passed_on`, where no other program came of it."""
    os.close(descriptor)
    for each in (handover.descriptors or {}).values():
        os.set_inheritable(each, False)
