"""A running state becomes a file that people would have written, or it is said why none can be."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from forwarders import Nat
from lvsd.assembly import wanted_of
from lvsd.config import model
from lvsd.config.load import load
from lvsd.config.saving import checked_text, put
from lvsd.core.commands import AddServer, AddService
from lvsd.core.values import ServerConfig, ServiceConfig, ServiceKey
from lvsd.documents import whole
from lvsd.errors import ConfigError, OutputError
from lvsd.packet.address import pack

if TYPE_CHECKING:
    from pathlib import Path

    from lvsd.core.wanted import Wanted

KEY = ServiceKey(6, pack("192.0.2.10"), 80)
FILE = """
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
scheduler = "sh"
scheduler_flags = ["sh-fallback", "sh-port"]
forward = "tun"
tunnel = "gue"
tunnel_port = 6080
tunnel_checksum = true
mss_clamp = true
persistence_s = 300
interface = "front"

  [[service.server]]
  address = "10.0.0.11:80"
  weight = 3

  [[service.server]]
  address = "[2001:db8::12]:80"
  weight = 1

  [[service.server]]
  address = "10.0.0.13:80"
  weight = 0
  upper_threshold = 10
  forward = "dr"

[[service]]
name = "empty"
fwmark = 7
family = 6
scheduler = "wlc"
forward = "dr"
"""


def document(wanted: Wanted) -> dict[str, Any]:
    return whole(wanted, model.Config())


def test_a_file_comes_out_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "lvsd.toml").write_text(FILE)
    config = load(tmp_path / "lvsd.toml")
    written = checked_text(whole(wanted_of(config), config))
    services = "\n" + written[written.index("[[service]]") :].rstrip() + "\n"
    assert services == FILE


def test_a_service_that_nobody_named_gets_a_name_of_its_own() -> None:
    wanted = wanted_of(model.Config())
    wanted.do(
        AddService(ServiceConfig(key, name=name))
        for key, name in (
            (KEY, ""),
            (KEY._replace(protocol=17), "tcp 192.0.2.10:80"),
            (ServiceKey(fwmark=7, family=6), " such is no name "),
        )
    )
    written = checked_text(document(wanted))
    names = [line for line in written.splitlines() if line.startswith("name")]
    assert names == [
        'name = "tcp 192.0.2.10:80"',
        'name = "tcp 192.0.2.10:80 2"',
        'name = "mark 7 IPv6"',
    ]


def test_what_no_configuration_may_say_is_said_with_the_service_and_the_key() -> None:
    wanted = wanted_of(model.Config())
    server = ServerConfig(pack("127.0.0.1"), 80, Nat())
    wanted.do([AddService(ServiceConfig(KEY, name="web")), AddServer(KEY, server)])
    with pytest.raises(ConfigError) as refused:
        checked_text(document(wanted))
    (problem,) = refused.value.problems
    assert problem.startswith("service web: server.address: ")
    assert "loopback" in problem


def test_a_file_that_is_written_anew_keeps_its_mode_and_leaves_no_draft(tmp_path: Path) -> None:
    file, link = tmp_path / "lvsd.toml", tmp_path / "link"
    file.write_text("before")
    file.chmod(0o600)
    link.symlink_to(file)
    put("after", link)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("after", 0o600)
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "lvsd.toml"]


def test_a_disk_that_is_full_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lvsd.toml"
    file.write_text("before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as refused:
        put("after", file)
    assert str(refused.value) == f"{file}: cannot be written: No space left on device"
    assert file.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["lvsd.toml"]


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        put("after", pipe)
        assert os.read(reader, 100) == b"after"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("", "'': cannot be written: it is empty, and names no file"),
        ("/", "/: cannot be written: it names a directory, not a file"),
        (".", ".: cannot be written: it names a directory, not a file"),
        ("there", "there: cannot be written: it names a directory, not a file"),
        ("new/", "new/: cannot be written: it names a directory, not a file"),
        ("new/.", "new/.: cannot be written: it names a directory, not a file"),
        ("loop", "loop: cannot be written: Too many levels of symbolic links"),
    ],
)
def test_what_names_no_file_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError) as refused:
        put("after", typed)
    assert str(refused.value) == told
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["loop", "there"]
