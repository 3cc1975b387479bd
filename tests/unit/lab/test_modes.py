"""The lvsd.toml of a lab of each mode, and of all at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from lvsd.config.load import check
from lvsd.lab import cli, modes, settings
from lvsd.lab.modes import MODES, Family
from lvsd.lab.namespace import Namespace
from lvsd.lab.plan import WAYS
from lvsd.lab.plan import modes as plan_modes
from lvsd.lab.settings import RealServer

if TYPE_CHECKING:
    from lvsd.lab.lab import Lab
    from lvsd.lab.plan import Addresses

FAMILIES: tuple[Family, ...] = get_args(Family)


class PaperLab:
    """What `modes.web` asks of a lab, without namespaces."""

    def __init__(self, *ways: str) -> None:
        topology = plan_modes(ways, mtu=1500)
        self.vip = topology.vip
        self.local_addresses: tuple[Addresses, ...] = topology.local_addresses
        nodes = [node for node in topology.nodes if node.way]
        self.servers = [Namespace(node.name, Path(node.name), node) for node in nodes]


def web(family: Family, *ways: str, weights: tuple[int, ...] = ()) -> settings.Service:
    lab: Lab = PaperLab(*ways)  # type: ignore[assignment]  # all that is asked of it
    return modes.web(lab, family, weights=weights)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "ways", [*((way,) * 2 for way in WAYS), WAYS, tuple(reversed(WAYS))], ids="+".join
)
def test_the_daemons_own_check_finds_every_web_site_good(
    tmp_path: Path, ways: tuple[str, ...], family: Family
) -> None:
    file = tmp_path / "lvsd.toml"
    file.write_text(settings.toml([web(family, *ways)], tmp_path / "lvsd.sock"), encoding="utf-8")

    config, problems = check(file)

    assert list(problems) == []
    assert config is not None
    (service,) = config.services
    assert [service.forwarder(server).name for server in service.servers] == list(ways)


def test_servers_say_only_what_differs_from_the_service() -> None:
    service = web("v4", *WAYS, weights=(4, 3, 2, 1))

    assert service.forward == "nat"
    assert service.local_addresses == ("10.0.0.2", "10.0.0.3")
    assert service.servers == (
        RealServer("10.0.0.11:8080", 4),
        RealServer("10.0.0.12:80", 3, forward="dr"),
        RealServer("10.1.0.13:80", 2, forward="tun"),
        RealServer("10.1.0.14:8080", 1, forward="fullnat"),
    )


def test_every_way_has_a_mode_to_show() -> None:
    assert tuple(MODES) == WAYS


@pytest.mark.parametrize(
    ("forward", "servers", "ways"),
    [
        ("nat", None, ("nat", "nat", "nat")),
        ("dr", 1, ("dr",)),
        ("mixed", None, WAYS),
        ("mixed", 6, (*WAYS, "nat", "dr")),
    ],
)
def test_mixed_gives_each_server_the_next_way(
    forward: str, servers: int | None, ways: tuple[str, ...]
) -> None:
    assert cli._ways(forward, servers) == ways
