"""Whatever there is, lvsadm -S says it, and lvsadm -R makes the same of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.config.plugins import make_scheduler
from lvsd.core.balancer import Balancer
from lvsd.core.commands import AddServer, AddService, SetTimeouts
from lvsd.core.local_pool import LocalPool
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.packet.view import SCTP, TCP, UDP
from schedulers import BUILT_IN
from tests.in_process import InProcess
from tests.property.examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from forwarders.base import Forwarder
    from lvsd.core.commands import Command

Draw = Any

SECONDS: Final = st.integers(1, 31 * 86400)
OR_NONE: Final = st.just(0)
PORTS: Final = st.integers(1, 0xFFFF)
FLAGS: Final = {"sh": ["sh-port", "sh-fallback"], "mh": ["mh-port", "mh-fallback"]}
TUNNELS: Final = st.one_of(
    st.just(Tun()),
    st.builds(Tun, st.just("gue"), PORTS, st.booleans()),
    st.builds(Tun, st.just("gre"), st.just(0), st.booleans()),
)
FULLNATS: Final = st.builds(
    Fullnat, st.sampled_from(["toa", "proxy-v2", "none"]), st.integers(1, 0xFF)
)
NAMES: Final = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "))


def addresses(family: int) -> st.SearchStrategy[bytes]:
    """Return strategies for unicast addresses, packed."""
    if family == 4:
        return st.tuples(st.integers(1, 223), *3 * [st.integers(0, 255)]).map(bytes)
    return st.binary(min_size=15, max_size=15).map(lambda rest: b"\x20" + rest)


@st.composite
def keys(draw: Draw) -> ServiceKey:
    family = draw(st.sampled_from([4, 6]))
    if draw(st.booleans()):
        return ServiceKey(fwmark=draw(st.integers(1, 0xFFFFFFFF)), family=family)
    protocol = draw(st.sampled_from([TCP, UDP, SCTP]))
    return ServiceKey(protocol, draw(addresses(family)), draw(PORTS | OR_NONE), family=family)


def local_addresses(family: int) -> st.SearchStrategy[bytes]:
    """Draw addresses of 10.0.0.0/8 or of fd00::/8, which a service may send from."""
    first, rest = (b"\x0a", 3) if family == 4 else (b"\xfd", 15)
    return st.binary(min_size=rest, max_size=rest).map(lambda each: first + each)


@st.composite
def services(draw: Draw, key: ServiceKey) -> ServiceConfig:
    scheduler = draw(st.sampled_from(sorted(BUILT_IN)))
    needs_persistence = not (key.fwmark or key.vport)
    persistence_s = draw(SECONDS if needs_persistence else SECONDS | OR_NONE)
    whole = 32 if key.family == 4 else 128  # which is written as if it were not said
    ports = sorted(draw(st.tuples(PORTS, PORTS)))
    others = local_addresses(key.family).filter(lambda each: each != key.vip)
    pool = tuple(draw(st.lists(others, max_size=2, unique=True)))
    may_be_one_packet = key.fwmark or key.protocol == UDP
    return ServiceConfig(
        key,
        scheduler,
        frozenset(draw(st.sets(st.sampled_from(FLAGS[scheduler])))) if scheduler in FLAGS
        else frozenset(),
        name=draw(NAMES)[:64].strip(),
        persistence_s=persistence_s,
        prefix=draw(st.none() | st.integers(1, whole - 1)) if persistence_s else None,
        one_packet=bool(may_be_one_packet and draw(st.booleans())),
        mss_clamp=draw(st.booleans()),
        max_connections=draw(st.integers(0, 0xFFFFFFFF)),
        slow_start_s=draw(SECONDS | OR_NONE),
        local=LocalPool(pool, *ports),
        timing=Timing(*draw(st.tuples(*3 * [SECONDS | OR_NONE]))),
    )  # fmt: skip


@st.composite
def servers(draw: Draw, service: ServiceConfig) -> ServerConfig:
    key = service.key
    forwarders: list[st.SearchStrategy[Forwarder]] = [st.just(Nat()), st.just(Dr()), TUNNELS]
    if service.local.addresses and not service.one_packet and key.protocol != SCTP:
        forwarders.append(FULLNATS)
    forwarder = draw(st.one_of(forwarders))
    family = draw(st.sampled_from([4, 6])) if forwarder.any_family else key.family
    port = draw(PORTS | OR_NONE) if forwarder.maps_port or key.fwmark else key.vport
    lower, upper = sorted(draw(st.tuples(*2 * [st.integers(0, 0x7FFFFFFF)])))
    weight = draw(st.integers(0, 0xFFFF))
    return ServerConfig(draw(addresses(family)), port, forwarder, weight, upper, lower)


@st.composite
def states(draw: Draw) -> list[Command]:
    """Draw commands that make any state there may be."""
    commands: list[Command] = [SetTimeouts(*draw(st.tuples(*3 * [SECONDS])))]
    for key in draw(st.lists(keys(), max_size=3, unique=True)):
        service = draw(services(key))
        commands.append(AddService(service))
        drawn = draw(st.lists(servers(service), max_size=3, unique_by=lambda each: each.place))
        commands += [AddServer(key, each) for each in drawn]
    return commands


def with_nothing() -> InProcess:
    return InProcess(Balancer(make_scheduler))


def saved_and_restored(commands: list[Command], *options: str) -> tuple[InProcess, InProcess]:
    """Return a director that did commands, and one that restored what was saved of it."""
    one, other = with_nothing(), with_nothing()
    one.do(commands)
    saved = one.type(["-Sn", *options])
    assert (saved.status, saved.errors) == (0, "")
    assert other.type(["-R"], saved.output) == (0, "", "")
    return one, other


def held(director: InProcess, of_servers: Callable[[Any], object]) -> tuple[object, ...]:
    """Return what there is: timeouts, services, and their real servers as ``of_servers`` says."""
    services = director.wanted.services.values()
    servers = {each.config: of_servers(each.servers.values()) for each in services}
    listed = {each.config: of_servers([server.config for server in each.servers])
              for each in director.balancer.services}  # fmt: skip
    return director.wanted.timeouts, director.balancer.timeouts(), servers, listed


@examples()
@given(states())
def test_what_is_saved_comes_back(commands: list[Command]) -> None:
    one, other = saved_and_restored(commands)
    assert held(one, frozenset) == held(other, frozenset)


@examples()
@given(states())
def test_what_is_saved_unsorted_comes_back_in_its_order(commands: list[Command]) -> None:
    one, other = saved_and_restored(commands, "--nosort")
    assert held(one, list) == held(other, list)


@examples()
@given(states())
def test_what_was_restored_is_saved_as_it_was(commands: list[Command]) -> None:
    one, other = saved_and_restored(commands)
    assert one.type(["-Sn"]) == other.type(["-Sn"])
