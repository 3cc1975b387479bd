"""Why each pick, in a table: a scheduler, servers A, B, C of given weights, and connections.

The schedulers say themselves what their servers stand for (`schedulers.base.Scheduler.weigh`);
here it becomes a `Choice`, for one connection or for a lesson's whole sequence of them.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import cycle, islice
from string import ascii_uppercase
from typing import TYPE_CHECKING, Literal

from lvsd import tables
from lvsd.explain.model import Candidate, Choice
from schedulers import load
from schedulers.base import Flow, Server, Weighed
from schedulers.words import short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lvsd.core.service import Service
    from schedulers.base import Scheduler

CLIENTS = ("198.51.100.1", "2001:db8:51::1")
VIPS = ("192.0.2.10", "2001:db8::10")
DESTINATIONS = "10.0.0.1"
SERVERS = "192.168.1.1"
VPORT = 80
CPORT = 40000

NOBODY = "-"
UNSAID = "the scheduler does not say why"


def picks(
    scheduler: str | type[Scheduler],
    weights: Sequence[int],
    count: int,
    *,
    flags: frozenset[str] = frozenset(),
    clients: Sequence[str] | None = None,
) -> tuple[Choice, ...]:
    """Return ``count`` choices in a row, for connections that all become and stay active.

    Servers A, B, C ... of these weights are added in this order, and stand so in each choice.
    The connections come from ``clients``, over and over, or from 198.51.100.1 onwards, to
    192.0.2.10:80. Where the scheduler looks at the destination and not at the source, they come
    from 198.51.100.1 and go to ``clients``, or to 10.0.0.1 onwards. Raise what `schedulers.load`
    does of a name, ValueError of a flag that the scheduler does not know.
    """
    picker = (load(scheduler) if isinstance(scheduler, str) else scheduler)(flags)
    addresses = _onwards(SERVERS, len(weights))
    servers = [
        Server(ip_address(address).packed, VPORT, weight)
        for address, weight in zip(addresses, weights, strict=True)
    ]
    for server in servers:
        picker.add(server)
    places = {server: place for place, server in enumerate(servers)}

    goes_by = _goes_by(picker)
    by_destination = goes_by == "destination"
    varied = clients or _onwards(DESTINATIONS if by_destination else CLIENTS[0], count)
    choices = []
    for address in islice(cycle(varied), count):
        flow = _flow(address, by_destination=by_destination)
        weighed = _weighed(picker, servers, flow, 0.0)
        picked = picker.pick(flow, 0.0)
        weighed = sorted(weighed, key=lambda each: places[each.server])
        made = choice(picker, weighed, picked, lambda server: letters(places[server]))
        choices.append(replace(made, asked=address, goes_by=goes_by) if goes_by else made)
        if picked is not None:
            picked.open()
            picked.activate()
            picker.changed(picked)
    return tuple(choices)


def _goes_by(scheduler: Scheduler) -> Literal["", "client", "destination"]:
    """Return whose address has to vary, that the picks may."""
    if "source" in scheduler.looks_at:
        return "client"
    return "destination" if "destination" in scheduler.looks_at else ""


def choice(
    scheduler: Scheduler,
    weighed: Sequence[Weighed],
    picked: Server | None,
    name: Callable[[Server], str],
) -> Choice:
    """Return why ``picked`` was, from what the scheduler said before it picked.

    The counts are the servers' own, so call this before the connection is counted. A server that
    was picked and that the scheduler said nothing of is a candidate too.
    """
    if picked is not None and all(each.server is not picked for each in weighed):
        weighed = [*weighed, Weighed(picked, None, UNSAID)]
    candidates = tuple(
        Candidate(
            server=name(each.server),
            weight=each.server.weight,
            active=each.server.active,
            inactive=each.server.inactive,
            number=None if each.number is None else float(each.number),
            text=each.text,
            picked=each.server is picked,
        )
        for each in weighed
    )
    return Choice(scheduler.name, scheduler.rule, candidates)


def weigh(service: Service, flow: Flow, now: float, name: Callable[[Server], str]) -> Choice:
    """Return what each real server of a service stands for, nobody picked yet.

    The counts are those of this moment: to be called before the connection is there.
    """
    return choice(
        service.scheduler, _weighed(service.scheduler, service.servers, flow, now), None, name
    )


def fallen_on(made: Choice, picked: str) -> Choice:
    """Return a choice with the server that it fell on marked."""
    candidates = (replace(each, picked=each.server == picked) for each in made.candidates)
    return replace(made, candidates=tuple(candidates))


def _weighed(
    scheduler: Scheduler, servers: Iterable[Server], flow: Flow, now: float
) -> Sequence[Weighed]:
    """Return what the scheduler says of each server, or that it says nothing."""
    return scheduler.weigh(flow, now) or [Weighed(each, None, UNSAID) for each in servers]


def letters(place: int) -> str:
    """Return A, B ... Z, AA, AB ... for 0, 1 ..."""
    above, last = divmod(place, len(ascii_uppercase))
    return (letters(above - 1) if above else "") + ascii_uppercase[last]


def winner(choice: Choice) -> str:
    """Return the name of the server that was picked, a dash for nobody."""
    return next((each.server for each in choice.candidates if each.picked), NOBODY)


def lineup(choices: Sequence[Choice]) -> dict[str, int]:
    """Return all servers of the choices with their weights, each as it is first met."""
    met: dict[str, int] = {}
    for choice in choices:
        for each in choice.candidates:
            met.setdefault(each.server, each.weight)
    return met


def cells(choice: Choice) -> dict[str, str]:
    """Return what a table has of each candidate: its number, short, or a word that says more."""
    return {
        each.server: NOBODY
        if each.number is None
        else each.text
        if each.text.isalpha()
        else short(each.number)
        for each in choice.candidates
    }


def table(choices: Sequence[Choice]) -> list[dict[str, str]]:
    """Return a row for each choice: its cells by their headings, a server's by its name.

    Whose address the scheduler goes by, client or destination, has a column where it matters.
    """
    names = lineup(choices)
    rows = []
    for number, each in enumerate(choices, 1):
        numbers = cells(each)
        about: dict[str, str] = {each.goes_by: each.asked} if each.goes_by else {}
        servers = {name: numbers.get(name, NOBODY) for name in names}
        rows.append({"pick": str(number), **about, **servers, "picked": winner(each)})
    return rows


def markdown(choices: Sequence[Choice]) -> str:
    """Return the table of the choices as Markdown."""
    rows = table(choices)
    heads = list(rows[0]) if rows else ["pick", "picked"]
    return tables.markdown(heads, [[*row.values()] for row in rows])


def _flow(address: str, *, by_destination: bool) -> Flow:
    """Return the flow from this client, or to this destination, from or to the usual other."""
    varied = ip_address(address)
    client, vip = (ip_address(pair[varied.version == 6]) for pair in (CLIENTS, VIPS))
    source, destination = (client, varied) if by_destination else (varied, vip)
    return Flow(source.packed, CPORT, destination.packed, VPORT)


def _onwards(first: str, count: int) -> list[str]:
    """Return so many addresses in a row."""
    return [str(ip_address(first) + place) for place in range(count)]
