"""What kernel IPVS picks in one history of connections: JSON in, JSON out.

Usage, as root, in the checkout::

    python -m tests.kernel.picks < QUESTION > ANSWER

That is how `lvsd bench schedulers --kernel` asks. The question::

    {"version": 4,
     "connections": [["100.64.0.1", 1024, "192.0.2.1"], ...],    client, its port, destination
     "events": [[0.0, "open", 0], [0.8, "open", 1], [0.8, "end", 0], ...],
     "services": [{"scheduler": "wlc", "weights": [3, 1, 2]}, ...]}

Events are in order of time, and their numbers are those of connections. Each service has servers
10.0.0.1, 10.0.0.2 ... or 2001:db8:2::1 ..., port 8080, added in this order; destinations are in
`rig.VIPS`. A connection opens by SYN and ACK and ends by RST. The answer::

    {"kernel": "Linux 6.1.0-...",
     "drift_s": 0.01,        by how much longer than meant 11 s were at most, for all that was done
     "picks": {"wlc": [0, 2, null, ...]}}      the servers by connection, from 0 on

Where the kernel cannot be asked the answer is ``{"why_not": "...", "needs_root": true}``. A
question without services boots nothing, and tells only that.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from tests.kernel import judge, packets
from tests.kernel.compare import chosen
from tests.kernel.rig import server_address
from tests.kernel.scenario import (
    TCP,
    AddServer,
    AddService,
    Operation,
    RealServer,
    Scenario,
    Send,
    Side,
    Sight,
    VirtualService,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.kernel.scenario import Observation

MARKS = 1000
"""Each service has a mark of its own, from here on; other scenarios' are below."""
VPORT, PORT = 80, 8080
DRIFT_OVER_S = 11.0


def scenarios(question: dict[str, Any]) -> list[Scenario]:
    """Return one scenario for each service of a question."""
    return [
        Scenario(service["scheduler"], tuple(_operations(question, service, MARKS + number)))
        for number, service in enumerate(question["services"])
    ]


def _operations(question: dict[str, Any], asked: dict[str, Any], mark: int) -> Iterator[Operation]:
    version = question["version"]
    service = VirtualService(
        fwmark=mark, version=version, protocol=TCP, scheduler=asked["scheduler"]
    )
    yield AddService(service)
    for number, weight in enumerate(asked["weights"], 1):
        address = server_address(number, version)
        yield AddServer(service, RealServer(address, PORT, weight=weight))
    now_s = 0.0
    for at_s, what, number in question["events"]:
        if at_s > now_s:
            yield Wait(at_s - now_s)
            now_s = at_s
        client, port, destination = question["connections"][number]
        for flags in ("S", "A") if what == "open" else ("R",):
            yield Send(Side.CLIENT, packets.tcp(client, port, destination, VPORT, flags), mark)


def picks(
    question: dict[str, Any], scenario: Scenario, observations: Sequence[Observation]
) -> tuple[list[int | None], float]:
    """Return the server of each connection, and the greatest drift."""
    found: list[int | None] = [None] * len(question["connections"])
    sent = [
        seen
        for operation, seen in zip(scenario.operations, observations, strict=True)
        if isinstance(operation, Send)
    ]
    late: deque[tuple[float, float]] = deque()
    drift_s, place = 0.0, 0
    for at_s, what, number in question["events"]:
        at, seen = sent[place]
        late.append((at_s, at - at_s))
        while late[0][0] < at_s - DRIFT_OVER_S:
            late.popleft()
        drift_s = max(drift_s, at - at_s - late[0][1])
        if what == "open":
            servers = [] if seen is None or isinstance(seen, str | Sight) else chosen(seen)
            found[number] = servers[0] - 1 if servers else None
        place += 2 if what == "open" else 1
    return found, drift_s


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Ask the kernel. Raise RuntimeError, with its words, if that fails."""
    why_not = judge.why_not()
    if why_not is not None:
        return {"why_not": why_not, "needs_root": os.geteuid() != 0}
    asked = scenarios(question)
    if not asked:
        return {"kernel": "", "drift_s": 0.0, "picks": {}}
    verdicts = judge.ask(asked)
    every = [
        picks(question, scenario, observations)
        for scenario, observations in zip(asked, verdicts.observations, strict=True)
    ]
    return {
        "kernel": verdicts.kernel,
        "drift_s": max(drift_s for _, drift_s in every),
        "picks": {scenario.name: found for scenario, (found, _) in zip(asked, every, strict=True)},
    }


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
