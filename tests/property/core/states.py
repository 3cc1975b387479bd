"""What may be wanted: states that a configuration may have, from few services and servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from forwarders import Dr, Fullnat, Nat, Tun
from lvsd.core.commands import AddServer, AddService
from lvsd.core.local_pool import LocalPool
from lvsd.core.settings import Settings
from lvsd.core.timeouts import Timing
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.core.wanted import Wanted
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forwarders.base import Forwarder

TCP, UDP, SCTP = 6, 17, 132

KEYS: Final = (
    ServiceKey(TCP, pack("192.0.2.1"), 80),
    ServiceKey(UDP, pack("192.0.2.1"), 80),
    ServiceKey(SCTP, pack("192.0.2.2"), 80),
    ServiceKey(TCP, pack("2001:db8::1"), 80, family=6),
    ServiceKey(fwmark=7),
    ServiceKey(fwmark=7, family=6),
)
LOCAL: Final = {4: ("10.0.9.1", "10.0.9.2"), 6: ("fd00:9::1", "fd00:9::2")}
FORWARDERS: Final = (
    *(Nat(), Dr(), Tun(), Tun("gue", 6080), Tun("gue", 6081, True), Tun("gre", 0, True)),
    *(Fullnat(), Fullnat("toa", 200), Fullnat("none"), Fullnat("proxy-v2")),
)
SECONDS: Final = st.sampled_from((0, 1, 300, 2678400))
NAMES: Final = ("", "web", "mail", "tcp 192.0.2.1:80", 'a "quoted" \\ name', "жук")


def _may_be(key: ServiceKey, forwarder: Forwarder, *, one_packet: bool) -> bool:
    return not (forwarder.per_connection and (key.protocol == SCTP or one_packet))


@st.composite
def services(draw: st.DrawFn, key: ServiceKey, name: str) -> tuple[ServiceConfig, Any]:
    """Draw a service and its real servers."""
    family = 6 if key.family == 6 else 4
    one_packet = draw(st.booleans()) if key.protocol in {0, UDP} else False
    ways = [each for each in FORWARDERS if _may_be(key, each, one_packet=one_packet)]
    numbers = draw(st.lists(st.integers(1, 4), unique=True, max_size=4))
    servers = []
    for number in numbers:
        forwarder = draw(st.sampled_from(ways))
        port = draw(st.sampled_from((0, 8080))) if forwarder.maps_port else key.vport
        upper = draw(st.sampled_from((0, 10, 1000)))
        servers.append(
            ServerConfig(
                pack(f"10.0.0.{number}" if family == 4 else f"fd00::{number}"),
                port,
                forwarder,
                weight=draw(st.sampled_from((0, 1, 3, 65535))),
                upper=upper,
                lower=draw(st.sampled_from((0, 5, 10))) if upper else 0,
            )
        )
    modes = {each.forwarder.name for each in servers}
    pool = LocalPool()
    if "fullnat" in modes:
        ports = draw(st.sampled_from(((1025, 65535), (20000, 30000))))
        addresses = draw(st.permutations(LOCAL[family])) if draw(st.booleans()) else LOCAL[family]
        pool = LocalPool(tuple(pack(each) for each in addresses), *ports)
    clamp = "tun" in modes and key.protocol in {0, TCP} and draw(st.booleans())
    persistence = draw(SECONDS)
    timing = Timing(
        draw(SECONDS) if key.protocol in {0, TCP} else 0,
        draw(SECONDS) if key.protocol in {0, UDP} else 0,
        draw(SECONDS) if key.protocol in {0, UDP} and modes & {"nat", "fullnat"} else 0,
    )
    config = ServiceConfig(
        key,
        scheduler=draw(st.sampled_from(("wlc", "rr", "sh", "mh"))),
        name=name,
        persistence_s=persistence,
        prefix=draw(st.sampled_from((None, 24))) if persistence else None,
        one_packet=one_packet,
        mss_clamp=clamp,
        max_connections=draw(st.sampled_from((0, 1000))),
        local=pool,
        timing=timing,
        slow_start_s=draw(st.sampled_from((0, 30))),
    )
    return config, servers


@st.composite
def states(draw: st.DrawFn, names: Sequence[str] = NAMES) -> Wanted:
    """Draw what may be wanted."""
    timeouts = st.sampled_from((1, 60, 900))
    wanted = Wanted(
        (draw(timeouts), draw(timeouts), draw(timeouts)),
        Settings(
            sloppy_tcp=draw(st.booleans()), max_connections=draw(st.sampled_from((10, 10**6)))
        ),
    )
    for key in draw(st.lists(st.sampled_from(KEYS), unique=True)):
        config, servers = draw(services(key, draw(st.sampled_from(names))))
        wanted.do([AddService(config), *(AddServer(key, each) for each in servers)])
    return wanted
