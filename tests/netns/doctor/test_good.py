"""The doctor finds nothing where nothing is wrong."""

from __future__ import annotations

from tests.netns.doctor.site import clinic


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
