"""The doctor finds nothing where nothing is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.lab.plan import WAYS
from tests.netns.doctor.site import clinic

if TYPE_CHECKING:
    from tests.netns.doctor.site import Clinic


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_found_in_a_good_lab(way: str) -> None:
    with clinic((way, way)) as standing:
        assert standing.findings() == []


@pytest.mark.parametrize("way", ["tun", "dr"])
def test_nothing_is_found_where_the_director_has_the_virtual_address(way: str) -> None:
    with clinic((way, way)) as standing:
        vip = standing.lab.vip
        standing.lab.director.ip(
            f"address add {vip.v4}/32 dev lo", f"address add {vip.v6}/128 dev lo"
        )
        assert standing.findings() == []


def test_nothing_is_found_with_gre() -> None:
    with clinic(("tun",), tunnel=("gre", None)) as standing:
        assert standing.findings() == []


def test_nothing_is_found_with_gue() -> None:
    with clinic(("tun",), tunnel=("gue", 6080)) as standing:
        assert standing.findings() == []


def test_a_strict_rp_filter_is_no_fault_where_it_drops_nothing() -> None:
    with clinic(("nat", "dr", "tun", "fullnat")) as standing:
        standing.lab.director.sysctl("net.ipv4.conf.all.rp_filter", "1")
        assert standing.findings() == []


def test_forwarding_may_be_off_without_nat() -> None:
    with clinic(("dr", "tun", "fullnat")) as standing:
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            assert standing.lab.director.sysctl_value(name) == "0"
        assert standing.findings() == []


def test_a_running_daemon_is_asked_without_a_configuration(mixed: Clinic) -> None:
    assert mixed.findings("--control", str(mixed.site.daemon.control), anew=True) == []


def test_the_text_fits_sixty_columns_and_ends_with_zero(mixed: Clinic) -> None:
    status, text = mixed.doctor(anew=True)

    assert status == 0
    assert [line for line in text.splitlines() if len(line) > 60] == []
    assert {line[:9] for line in text.splitlines()} == {"ok       ", " " * 9}
