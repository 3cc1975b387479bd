"""Records of a director's state: what was written is read, and any bytes are read or refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from lvsd.core import snapshot
from lvsd.core.kept_drains import KeptDrain, read_drain, write_drain
from lvsd.core.snapshot import (
    SLOT,
    KeptConnection,
    KeptNumbers,
    KeptServer,
    KeptService,
    KeptTemplate,
    Kind,
    Position,
)
from lvsd.core.stats import Totals
from lvsd.core.values import ServiceKey
from lvsd.packet.view import SCTP, TCP, UDP, key

if TYPE_CHECKING:
    from lvsd.packet.translation import Memory

AT = SLOT
numbers = st.integers(0, 0xFFFFFFFF)
ports = st.integers(0, 0xFFFF)
maybe = st.none() | numbers
families = st.sampled_from([4, 16])
totals = st.builds(Totals, *[st.integers(0, 2**64 - 1)] * 5)


@st.composite
def keys(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw the keys of both directions."""
    length, protocol = draw(families), draw(st.sampled_from([TCP, UDP, SCTP]))
    address = st.binary(min_size=length, max_size=length)
    request = key(protocol, draw(address), draw(ports), draw(address), draw(ports))
    if draw(st.booleans()):
        return request, request
    return request, key(protocol, draw(address), draw(ports), draw(address), draw(ports))


tcp = st.tuples(st.just(b""), numbers, numbers, st.booleans(), maybe, maybe, maybe, st.booleans())
behind_header = st.tuples(ports, ports, st.booleans(), st.booleans())
memories: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.tuples(numbers), tcp, st.builds(lambda one, two: one + two, tcp, behind_header)
)


@st.composite
def service_keys(draw: st.DrawFn) -> ServiceKey:
    """Draw the key of a service."""
    length = draw(families)
    family = 4 if length == 4 else 6
    if draw(st.booleans()):
        return ServiceKey(fwmark=draw(st.integers(1, 0xFFFFFFFF)), family=family)
    vip = draw(st.binary(min_size=length, max_size=length))
    return ServiceKey(draw(st.integers(0, 255)), vip, draw(ports), 0, family)


def slots() -> bytearray:
    """Return three slots, of which the tests use the middle one, filled with what means nothing."""
    return bytearray(b"\xa5" * 3 * SLOT)


def around(buffer: bytearray) -> bytes:
    return bytes(buffer[:AT] + buffer[AT + SLOT :])


@given(keys(), st.integers(0, 13), numbers, memories, st.booleans())
def test_a_connection_is_read_as_it_was_written(
    both: tuple[bytes, bytes],
    state: int,
    server: int,
    memory: Memory | None,
    has_template: bool,  # noqa: FBT001 - drawn
) -> None:
    buffer = slots()
    connection: Any = SimpleNamespace(
        key=both[0],
        reply_key=both[1],
        state=0,
        local=None if memory is None else object(),
        template=object() if has_template else None,
    )
    snapshot.write_connection(buffer, AT, connection, server)
    snapshot.write_state(buffer, AT, state)
    if memory is not None:
        snapshot.write_memory(buffer, AT, memory)
    assert snapshot.kind_at(buffer, AT) == Kind.CONNECTION
    found = snapshot.read_connection(buffer, AT)
    assert found == KeptConnection(*both, state, server, memory is not None, has_template, memory)
    assert found is not None
    assert (found.reply_key is found.key) == (both[1] is both[0])
    assert around(buffer) == b"\xa5" * 2 * SLOT


@given(keys(), numbers, st.booleans(), ports, st.booleans())
def test_a_template_is_read_as_it_was_written(
    both: tuple[bytes, bytes],
    server: int,
    of_mark: bool,  # noqa: FBT001 - drawn
    vport: int,
    assured: bool,  # noqa: FBT001 - drawn
) -> None:
    buffer = slots()
    length = len(both[0]) - 5 >> 1
    network, vip = both[0][1 : 1 + length], both[0][1 + length : 1 + 2 * length]
    protocol = 0 if of_mark else both[0][0]
    kept = KeptTemplate((protocol, network, vip[:4] if of_mark else vip, vport), server)
    snapshot.write_template(buffer, AT, kept)
    if assured:
        snapshot.assure_template(buffer, AT)
    assert snapshot.read_template(buffer, AT) == kept._replace(assured=assured)
    assert around(buffer) == b"\xa5" * 2 * SLOT


@given(
    service_keys(), totals, totals, st.none() | st.tuples(numbers, st.lists(numbers, max_size=3))
)
def test_a_service_is_read_as_it_was_written(
    service: ServiceKey, counted: Totals, zero: Totals, drawn: tuple[int, list[int]] | None
) -> None:
    buffer = slots()
    position = None if drawn is None else Position(drawn[0], tuple(drawn[1]))
    snapshot.write_service(buffer, AT, service)
    assert snapshot.read_service(buffer, AT) == KeptService(service)
    snapshot.write_counted(buffer, AT, counted, zero)
    snapshot.write_position(buffer, AT, position)
    assert snapshot.read_service(buffer, AT) == KeptService(service, counted, zero, position)
    assert around(buffer) == b"\xa5" * 2 * SLOT


@given(service_keys(), families, st.data(), ports, totals, totals)
def test_a_server_is_read_as_it_was_written(
    service: ServiceKey, length: int, data: st.DataObject, port: int, counted: Totals, zero: Totals
) -> None:
    buffer = slots()
    address = data.draw(st.binary(min_size=length, max_size=length))
    snapshot.write_server(buffer, AT, service, address, port)
    assert snapshot.read_server(buffer, AT) == KeptServer(service, address, port)
    snapshot.write_counted(buffer, AT, counted, zero)
    assert snapshot.read_server(buffer, AT) == KeptServer(service, address, port, counted, zero)
    assert around(buffer) == b"\xa5" * 2 * SLOT


@given(st.sampled_from([8, 32]), st.data(), numbers)
def test_numbers_are_read_as_they_were_written(length: int, data: st.DataObject, last: int) -> None:
    buffer = slots()
    kept = KeptNumbers(data.draw(st.binary(min_size=length, max_size=length)), last)
    snapshot.write_numbers(buffer, AT, kept)
    assert snapshot.read_numbers(buffer, AT) == kept
    assert around(buffer) == b"\xa5" * 2 * SLOT


@given(numbers, maybe, st.floats(allow_nan=False, allow_infinity=False), numbers)
def test_a_drain_is_read_as_it_was_written(
    server: int, deadline_s: int | None, since: float, ended: int
) -> None:
    buffer = slots()
    kept = KeptDrain(server, deadline_s, since, ended)
    write_drain(buffer, AT, kept)
    assert snapshot.kind_at(buffer, AT) == Kind.DRAIN
    assert read_drain(buffer, AT) == kept
    assert around(buffer) == b"\xa5" * 2 * SLOT


@given(st.binary(min_size=SLOT, max_size=SLOT))
def test_any_bytes_are_read_or_refused_and_raise_nothing(found: bytes) -> None:
    buffer = bytearray(found)
    for read in (
        snapshot.read_connection,
        snapshot.read_template,
        snapshot.read_server,
        snapshot.read_service,
        snapshot.read_numbers,
        read_drain,
    ):
        record = read(buffer, 0)
        assert record is None or isinstance(record, tuple)


def test_a_memory_of_an_unknown_kind_is_kept_as_none() -> None:
    buffer = slots()
    snapshot.write_memory(buffer, AT, (1, 2, 3))
    buffer[AT + 4 :] = buffer[AT + 4 :].replace(b"\xa5", bytes([TCP]))
    found = snapshot.read_connection(buffer, AT)
    assert found is not None
    assert found.memory is None
