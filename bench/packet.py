"""What the packet layer costs: parse with key, rewrite, wrap, translate, sum up.

The table's figures are the best of several turns: what the code costs, not what else the machine
did.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from bench.harness import Case, Turn, calls, timed
from bench.packets import ADDRESSES_AT, CPORT, ENDS, L4, MTU, RPORT, VPORT, build
from bench.report import Section, count
from forwarders.plan import Encapsulate, SetDestination, TunnelKind
from lvsd.packet.checksum import apply, checksum, crc32c, delta
from lvsd.packet.rewrite import Change, compile_steps, edit
from lvsd.packet.tunnel import compile_tunnel
from lvsd.packet.view import SCTP, TCP, UDP, Packet, key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forwarders.base import End
    from lvsd.packet.translation import Translation

NO_OPERATIONS: Final = bytes((1, 1, 1, 0))

PACKETS: Final = {
    "tcp4-64": ("IPv4 TCP, 64 bytes", partial(build, 4, TCP, 64)),
    "tcp4-1500": ("IPv4 TCP, 1500 bytes", partial(build, 4, TCP, 1500)),
    "tcp4-9000": ("IPv4 TCP, 9000 bytes", partial(build, 4, TCP, 9000)),
    "tcp4-options-1500": ("IPv4 TCP with IP options", partial(build, 4, TCP, 1500, NO_OPERATIONS)),
    "udp4-1500": ("IPv4 UDP, 1500 bytes", partial(build, 4, UDP, 1500)),
    "sctp4-1500": ("IPv4 SCTP, 1500 bytes", partial(build, 4, SCTP, 1500)),
    "tcp6-1500": ("IPv6 TCP, 1500 bytes", partial(build, 6, TCP, 1500)),
    "udp6-1500": ("IPv6 UDP, 1500 bytes", partial(build, 6, UDP, 1500)),
}
"""What is loaded and rewritten, by the end of the benchmark's name."""

COLUMNS: Final = {"load": "load + key", "rewrite": "rewrite", "edit": "general way"}
"""What the table has of `PACKETS`, by the benchmark's name."""

KINDS: Final[tuple[TunnelKind, ...]] = ("ipip", "gue", "gre")
GUE_PORT: Final = 6080
LPORT: Final = 5000
ISN: Final = 1


def cases() -> list[Case]:
    """Return the benchmarks of group ``packet``; what they measure is a call each."""
    return [*_loads_and_rewrites(), *_tunnels(), *_translations(), *_checksums()]


def tables() -> list[Section]:
    """Measure, and return the table of section ``packet``; under a minute."""
    timings = timed([f"packet-{what}-*" for what in COLUMNS])
    rows = [
        (title, *(count(timings[f"packet-{what}-{slug}"].least_ns) for what in COLUMNS))
        for slug, (title, _) in PACKETS.items()
    ]
    columns = ("ns a packet", *COLUMNS.values())
    command = "python -m bench packet"
    return [Section("The packet layer", columns, rows, name="packet", command=command)]


def _loads_and_rewrites() -> Iterator[Case]:
    for what, prepare in (("load", _load), ("rewrite", _rewrite), ("edit", _edit)):
        for slug, (_, make) in PACKETS.items():
            yield Case(f"packet-{what}-{slug}", partial(prepare, make))


def _tunnels() -> Iterator[Case]:
    for kind in KINDS:
        for version in (4, 6):
            yield Case(f"packet-wrap-{kind}-tcp{version}", partial(_wrap, kind, version))


def _translations() -> Iterator[Case]:
    for version, protocol, name in ((4, TCP, "tcp4"), (6, TCP, "tcp6"), (4, UDP, "udp4")):
        yield Case(f"packet-fullnat-request-{name}", partial(_request, version, protocol))
        yield Case(f"packet-fullnat-reply-{name}", partial(_reply, version, protocol))


def _checksums() -> Iterator[Case]:
    data = bytes(range(256)) * 6
    for size in (20, 1500):
        yield Case(f"packet-checksum-{size}", partial(calls, partial(checksum, data[:size])))
    yield Case("packet-crc32c-1500", partial(calls, partial(crc32c, data[:1500])))
    yield Case(
        "packet-delta", partial(calls, lambda: apply(0x1234, delta(b"\1\2\3\4", b"\5\6\7\10")))
    )


def _load(make: Callable[[], bytes]) -> Turn:
    return calls(partial(Packet().load, make()))


def _rewrite(make: Callable[[], bytes]) -> Turn:
    packet = _loaded(make())
    _, vip, rip = ENDS[packet.version]
    steps = (SetDestination(rip, RPORT),)
    return calls(partial(compile_steps(steps, packet.protocol, destination=(vip, VPORT)), packet))


def _edit(make: Callable[[], bytes]) -> Turn:
    packet = _loaded(make())
    _, vip, rip = ENDS[packet.version]
    change = Change.between(packet.protocol, None, ((vip, VPORT), (rip, RPORT)))
    return calls(partial(edit, packet, change))


def _wrap(kind: TunnelKind, version: int) -> Turn:
    _, vip, rip = ENDS[version]
    tunnel = compile_tunnel(Encapsulate(vip, rip, kind, GUE_PORT if kind == "gue" else 0))
    packet = _loaded(build(version, TCP, MTU - tunnel.overhead))
    return calls(partial(tunnel.wrap, packet, 1))


def _request(version: int, protocol: int) -> Turn:
    """Return a turn of requests on a FULLNAT connection whose server has been told and knows."""
    translation = _translation(version, protocol)
    translation.reply(_answer(version, protocol))
    request = _loaded(build(version, protocol, MTU))
    return calls(partial(translation.request, request, MTU))


def _reply(version: int, protocol: int) -> Turn:
    answer = _answer(version, protocol)
    return calls(partial(_translation(version, protocol).reply, answer))


def _answer(version: int, protocol: int) -> Packet:
    """Return a packet from the real server to the local end; its checksum is not right."""
    data = bytearray(build(version, protocol, MTU))
    l4, (_, _, rip), (lip, lport) = L4[version], ENDS[version], _local(version)
    data[ADDRESSES_AT[version] : l4] = rip + lip
    data[l4 : l4 + 4] = RPORT.to_bytes(2, "big") + lport.to_bytes(2, "big")
    return _loaded(bytes(data))


def _translation(version: int, protocol: int) -> Translation:
    # Older revisions can at least run the other benchmarks.
    from forwarders.base import Ends  # noqa: PLC0415 - see above
    from forwarders.fullnat import Fullnat  # noqa: PLC0415 - same reason
    from lvsd.packet.client_address import ClientAddressCounts  # noqa: PLC0415 - same reason
    from lvsd.packet.translator import Translator  # noqa: PLC0415 - same reason

    cip, vip, rip = ENDS[version]
    client, virtual, real, local = (cip, CPORT), (vip, VPORT), (rip, RPORT), _local(version)
    plan = Fullnat().plan(Ends(*virtual, *real, local, client))
    translator = Translator(plan, protocol, ClientAddressCounts())
    return translator.translation(
        key(protocol, *client, *virtual), key(protocol, *real, *local), ISN
    )


def _local(version: int) -> End:
    """Return the director's own end towards the real server."""
    return bytes((*ENDS[version][2][:-1], 254)), LPORT


def _loaded(data: bytes) -> Packet:
    packet = Packet()
    packet.load(data)
    return packet
