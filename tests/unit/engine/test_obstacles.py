"""What is said of real servers that no packet reaches."""

from __future__ import annotations

import pytest

from lvsd.core.values import Way
from lvsd.engine import obstacles
from tests.unit.core.world import World


@pytest.mark.parametrize(
    ("servers", "named"),
    [
        (2, ["10.0.0.2:8080", "10.0.0.1:8080"]),
        (
            200,
            [
                (
                    "10.0.0.200:8080, 10.0.0.199:8080, 10.0.0.198:8080, 10.0.0.197:8080, "
                    "10.0.0.196:8080 and 195 more"
                )
            ],
        ),
    ],
)
def test_servers_without_a_route_are_one_obstacle_where_they_are_many(
    servers: int, named: list[str]
) -> None:
    world = World()
    service = world.serve(servers=servers)
    assert not any(obstacles.of_services(world.balancer, {}))
    for server in service.servers:
        server.set_way(Way(1500, None))
    found = [each for each in obstacles.of_services(world.balancer, {}) if each]
    assert [whom for _, whom, _ in found] == named
    assert {(what, remedy) for what, _, remedy in found} == {
        ("no route to a real server", "see `ip route`")
    }
