"""What a configuration says of health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lvsd.config.checks import ServiceChecks, checks_of
from lvsd.config.fields import Endpoint, endpoint
from lvsd.config.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.config.conftest import Problems

SERVICE = """[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
"""
CHECK = """[service.check]
type = "http"
path = "/health"
interval_s = 1.0
timeout_s = 0.5
fall = 2
rise = 2
"""
SERVER = """[[service.server]]
address = "10.0.0.11:80"
"""
FIRST = endpoint("10.0.0.11:80")


def checks(tmp_path: Path, text: str) -> ServiceChecks | None:
    file = tmp_path / "lvsd.toml"
    file.write_text(text)
    return checks_of(load(file).services[0])


def some_checks(tmp_path: Path, text: str) -> ServiceChecks:
    found = checks(tmp_path, text)
    assert found is not None
    return found


def test_a_service_without_checks_has_none(tmp_path: Path) -> None:
    assert checks(tmp_path, SERVICE + SERVER) is None


def test_the_example_is_read(tmp_path: Path) -> None:
    found = some_checks(tmp_path, SERVICE + CHECK + SERVER).of(FIRST)
    assert found is not None
    assert (found.type, found.check.values["path"]) == ("http", "/health")
    assert (found.interval_s, found.fast_interval_s, found.timeout_s) == (1.0, 1.0, 0.5)
    assert (found.fall, found.rise, found.address, found.port) == (2, 2, None, None)


def test_servers_and_what_is_added_later_share_a_check(tmp_path: Path) -> None:
    found = some_checks(tmp_path, SERVICE + CHECK + SERVER)
    configured, later = found.of(FIRST), found.of(Endpoint(b"\x0a\0\0\x0c", 80))
    assert configured
    assert later
    assert configured.check is later.check


def test_a_server_overrides_single_keys(tmp_path: Path) -> None:
    own = '[service.server.check]\npath = "/own"\nfall = 5\n'
    found = some_checks(tmp_path, SERVICE + CHECK + SERVER + own).of(FIRST)
    assert found is not None
    assert (found.check.values["path"], found.fall, found.rise) == ("/own", 5, 2)


def test_another_type_takes_only_the_common_keys(tmp_path: Path) -> None:
    own = '[service.server.check]\ntype = "tcp"\n'
    found = some_checks(tmp_path, SERVICE + CHECK + SERVER + own).of(FIRST)
    assert found is not None
    assert (found.type, found.interval_s) == ("tcp", 1.0)
    assert "path" not in found.check.values


def test_a_server_of_type_none_is_not_checked(tmp_path: Path) -> None:
    own = '[service.server.check]\ntype = "none"\n'
    assert some_checks(tmp_path, SERVICE + CHECK + SERVER + own).of(FIRST) is None


def test_a_sorry_server_is_told_apart(tmp_path: Path) -> None:
    found = some_checks(tmp_path, SERVICE + CHECK + SERVER + "backup = true\n")
    assert found.backups == {FIRST}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SERVICE + SERVER + "backup = true\n", "service.server.backup: true without"),
        (SERVICE + SERVER + "[service.server.check]\nfall = 2\n", "set without [service.check]"),
        (SERVICE + "[service.check]\nfall = 2\n", "service.check.type: missing"),
        (SERVICE + '[service.check]\ntype = "none"\n', '"none" is for single servers'),
        (SERVICE + '[service.check]\ntype = "htpp"\n', "did you mean http?"),
        (SERVICE + CHECK + 'pth = "/"\n', "did you mean path?"),
        (SERVICE + CHECK + 'method = "PUT"\n', '"PUT" is unknown'),
        (SERVICE + CHECK + 'status = ["400-300"]\n', "is no range"),
        (SERVICE + CHECK + 'body = "("\n', "is no regular expression"),
        (SERVICE + '[service.check]\ntype = "tcp"\ntimeout_s = 3\n', "above interval_s (2)"),
        (SERVICE + CHECK + SERVER + "[service.server.check]\nquorum = 2\n", "set for a server"),
        (SERVICE + CHECK + "quorum = -1\n", "too small"),
    ],
)
def test_a_mistake_is_told_once(problems: Problems, text: str, told: str) -> None:
    (found,) = problems(text)
    assert told in found
