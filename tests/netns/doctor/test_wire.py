"""Questions on a real wire."""

from __future__ import annotations

from select import select
from typing import TYPE_CHECKING, Any

import pytest

from lvsd.doctor.snapshot import Ask, Echo
from lvsd.doctor.wire import Wire
from lvsd.lab import Lab
from lvsd.lab.wait import PATIENCE, until
from lvsd.net import links
from lvsd.net.kernel import talking
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Share a network in which nothing runs."""
    with Lab(name="lvsd-doctor", servers=1) as standing:
        yield standing


def macs(lab: Lab) -> dict[str, bytes]:
    with lab.director.entered(), talking() as kernel:
        return {link.name: link.mac for link in links.every(kernel) if link.is_ethernet}


def test_what_has_come_by_the_deadline_is_taken_however_late_we_look(lab: Lab) -> None:
    source = pack(lab.director.interface("back").v4)
    ask = Ask("back", pack(lab.servers[0].addresses.v4), source)
    own = macs(lab)

    with lab.director.entered(), Wire(own, patience_s=1e-9) as wire:
        assert until(lambda: ask in wire.exchange([ask], []).macs)


def test_who_had_better_not_answer_is_waited_for_less_once_all_others_have(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pack(lab.director.interface("back").v4)
    nobody = Ask("back", pack(lab.vip.v4), source)
    somebody = Echo(source, pack(lab.servers[0].addresses.v4))
    silent = Echo(source, pack("203.0.113.1"))
    own = macs(lab)
    waits: list[float] = []

    def noted(*arguments: Any) -> Any:
        waits.append(arguments[-1])
        return select(*arguments)

    monkeypatch.setattr("lvsd.doctor.wire.QUIET", 1e-3)
    monkeypatch.setattr("lvsd.doctor.wire.SLOWER", 0)
    monkeypatch.setattr("lvsd.doctor.wire.select.select", noted)
    with lab.director.entered(), Wire(own, patience_s=60 * PATIENCE) as wire:
        answers = wire.exchange([nobody], [somebody, silent], quiet={silent})

    assert answers.macs == {}
    assert set(answers.echoes) == {somebody}
    assert waits[0] > 1
    assert waits[-1] < 1
