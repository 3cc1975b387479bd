"""What listeners and the log are told of changes."""

from __future__ import annotations

import pytest

from lvsd.control.changes import described, written_change
from lvsd.core.commands import HealthChange
from lvsd.core.values import Health, ServiceKey
from lvsd.packet.address import pack
from lvsd.packet.view import UDP

DNS = ServiceKey(UDP, pack("192.0.2.10"), 53)


@pytest.mark.parametrize("after", Health)
def test_listeners_are_told_the_new_health_of_a_server(after: Health) -> None:
    change = HealthChange(DNS, pack("2001:db8::1"), 5353, Health.UP, after)
    assert written_change(change) == {
        "change": "health",
        "service": {"protocol": "udp", "address": "192.0.2.10", "port": 53},
        "server": {"address": "2001:db8::1", "port": 5353},
        "health": after.value,
    }


def test_the_log_has_the_old_and_the_new_health_of_a_server() -> None:
    change = HealthChange(DNS, pack("10.0.0.1"), 5353, Health.UP, Health.REMOVED)
    assert described(change) == {
        "what": "health",
        "service": "udp 192.0.2.10:53",
        "server": "10.0.0.1:5353",
        "health": "up -> removed",
    }
