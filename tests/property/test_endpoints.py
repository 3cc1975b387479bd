"""The quick way to read an endpoint reads what the other one reads, and nothing else."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lvsd.config.fields import Endpoint, _quickly
from lvsd.packet.address import endpoint, parse_endpoint

OCTETS = st.sampled_from(["0", "1", "10", "255", "256", "01", "", "1e1", " 1", "\uff11"])
GROUPS = st.sampled_from(["0", "1", "ffff", "FFFF", "00001", "", "g", "1.2.3.4", "::"])
HOSTS = st.one_of(
    st.lists(OCTETS, min_size=3, max_size=5).map(".".join),
    st.lists(GROUPS, max_size=9).map(":".join).map("[{}]".format),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str).map("[{}]".format),
    st.ip_addresses(v=6).map(str),
    st.text(max_size=6),
)
PORTS = st.sampled_from(
    ["0", "80", "65535", "65536", "00080", "000080", "+80", " 80", "", "\uff18\uff10", "1_0"]
)
TEXTS = st.one_of(
    st.tuples(HOSTS, st.sampled_from([":", ":", "::", ""]), PORTS).map("".join),
    st.text(alphabet="0123456789abcdef.:[]\0", max_size=24),
)


@given(TEXTS)
@example("1.2.3.4\0:80")
@example("[::1\0]:80")
def test_what_is_read_quickly_is_what_is_read_slowly(text: str) -> None:
    found = _quickly(text)
    if found is not None:
        assert found == Endpoint(*parse_endpoint(text))


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_as_people_write_it_is_read_quickly(address: object, port: int) -> None:
    text = endpoint(address.packed, port)  # type: ignore[attr-defined]  # of either version
    assert _quickly(text) == (address.packed, port)  # type: ignore[attr-defined]
