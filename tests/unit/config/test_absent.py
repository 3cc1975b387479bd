"""What kernel IPVS has and lvsd has not: a file that asks for it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Problems: TypeAlias = Callable[[str], list[str]]

SERVICE = '[[service]]\nname = "web"\naddress = "192.0.2.10:80"\nprotocol = "tcp"\n'


@pytest.mark.parametrize(
    "name",
    [
        "cache_bypass",
        "drop_entry",
        "drop_packet",
        "ignore_tunneled",
        "nat_icmp_send",
        "pmtu_disc",
        "run_estimation",
        "schedule_icmp",
        "secure_tcp",
    ],
)
def test_a_sysctl_that_is_not_there_is_unknown(problems: Problems, name: str) -> None:
    (problem,) = problems(f"[sysctl]\n{name} = 1\n")
    assert problem.startswith(f"2: sysctl.{name}: unknown")


def test_the_scheduler_twos_is_unknown(problems: Problems) -> None:
    (problem,) = problems(f'{SERVICE}scheduler = "twos"\n')
    assert problem.startswith('5: service.scheduler: "twos" is unknown')


@pytest.mark.parametrize("key", ["pe", "persistence_engine"])
def test_a_persistence_engine_is_unknown(problems: Problems, key: str) -> None:
    (problem,) = problems(f'{SERVICE}persistence_s = 60\n{key} = "sip"\n')
    assert problem.startswith(f"6: service.{key}: unknown")


def test_remote_checksum_offload_of_a_tunnel_is_unknown(problems: Problems) -> None:
    (problem,) = problems(f'{SERVICE}forward = "tun"\ntunnel_remcsum = true\n')
    assert problem.startswith("6: service.tunnel_remcsum: unknown")
