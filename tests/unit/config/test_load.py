"""From a file to the model: values, defaults, and files that hold no configuration."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest

from lvsd.config.doubts import of_file
from lvsd.config.fields import Endpoint
from lvsd.config.load import MAX_BYTES, check, load
from lvsd.config.model import Config, Daemon, Sysctl, Timeouts
from lvsd.errors import ConfigError

ROOT = Path(__file__).parents[3]

FULL = """
[daemon]
control = "/run/lvsd/control.sock"

[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
scheduler = "sh"
scheduler_flags = ["sh-port"]
forward = "nat"
persistence_s = 300

  [[service.server]]
  address = "10.0.0.11:8080"
  weight = 3
  forward = "nat"

[[service]]
name = "marked"
fwmark = 7
family = 6
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lvsd.toml"


def read(file: Path, text: str) -> Config:
    file.write_text(text)
    return load(file)


def refused(file: Path, data: bytes) -> list[str]:
    """Return the problems with the file's name left out."""
    file.write_bytes(data)
    config, problems = check(file)
    assert config is None
    return [str(problem).replace(str(file), "FILE") for problem in problems]


def test_the_shape_of_the_design_is_read_word_for_word(file: Path) -> None:
    config = read(file, FULL)
    web, marked = config.services
    assert config.daemon.control == Path("/run/lvsd/control.sock")
    assert asdict(web) == {
        "name": "web",
        "address": (bytes([192, 0, 2, 10]), 80),
        "fwmark": None,
        "family": 4,
        "protocol": "tcp",
        "scheduler": "sh",
        "scheduler_flags": {"sh-port"},
        "forward": "nat",
        "tunnel": "ipip",
        "tunnel_port": None,
        "tunnel_checksum": False,
        "mss_clamp": False,
        "local_addresses": (),
        "local_ports": (1025, 65535),
        "client_address": "toa",
        "toa_kind": 254,
        "tcp_timeout_s": None,
        "udp_timeout_s": None,
        "udp_answered_timeout_s": None,
        "persistence_s": 300,
        "persistence_netmask": None,
        "one_packet": False,
        "max_connections": None,
        "slow_start_s": None,
        "interface": None,
        "check": None,
        "servers": (
            {
                "address": (bytes([10, 0, 0, 11]), 8080),
                "weight": 3,
                "forward": "nat",
                "tunnel": None,
                "tunnel_port": None,
                "tunnel_checksum": None,
                "client_address": None,
                "toa_kind": None,
                "upper_threshold": 0,
                "lower_threshold": 0,
                "backup": False,
                "check": None,
            },
        ),
    }
    assert (marked.fwmark, marked.address_family, marked.scheduler) == (7, 6, "wlc")


def test_an_empty_file_is_a_daemon_with_the_defaults_of_ipvs_and_no_service(file: Path) -> None:
    config = read(file, "")
    assert config.daemon == Daemon(
        control=Path("/run/lvsd/control.sock"),
        queue=0,
        queue_length=4096,
        on_crash="drop",
        max_connections=1_000_000,
        log_level="info",
        log_format="auto",
    )
    assert config.sysctl == Sysctl(
        expire_nodest_conn=False,
        expire_quiescent_template=False,
        conn_reuse_mode=1,
        sloppy_tcp=False,
        sloppy_sctp=False,
        forwarding=True,
        reserve_local_ports=True,
    )
    assert config.timeouts == Timeouts(tcp_s=900, tcp_fin_s=120, udp_s=300)
    assert config.services == ()


def test_the_packaged_example_asks_for_no_change_of_the_machine() -> None:
    config = load(ROOT / "packaging" / "lvsd.toml")
    assert config.services == ()
    assert list(of_file(config)) == []


def test_the_packaged_examples_services_are_good_when_they_are_taken_up(file: Path) -> None:
    example = (ROOT / "packaging" / "lvsd.toml").read_text()
    config = read(file, re.sub(r"^#(?=[^\s#])", "", example, flags=re.MULTILINE))
    assert [service.name for service in config.services] == ["web", "web6", "dns"]
    assert list(of_file(config)) == []


def test_a_sysctl_may_be_written_as_the_kernel_writes_it(file: Path) -> None:
    config = read(file, "[sysctl]\nsloppy_tcp = 1\nforwarding = 0\nconn_reuse_mode = true\n")
    assert (config.sysctl.sloppy_tcp, config.sysctl.forwarding) == (True, False)
    assert (config.sysctl.conn_reuse_mode, type(config.sysctl.conn_reuse_mode)) == (1, int)


def test_an_endpoint_knows_its_family_and_how_people_write_it() -> None:
    four, six = Endpoint(b"\xc0\x00\x02\x01", 80), Endpoint(bytes(15) + b"\x01", 0)
    assert (four.family, str(four)) == (4, "192.0.2.1:80")
    assert (six.family, str(six)) == (6, "[::1]:0")


def test_the_model_cannot_be_changed(file: Path) -> None:
    config = read(file, "")
    with pytest.raises(FrozenInstanceError):
        config.daemon.queue = 1  # type: ignore[misc]


def test_load_raises_every_problem_at_once(file: Path) -> None:
    file.write_text("[daemon]\nqueue = -1\nqueues = 2\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.path == file
    assert caught.value.exit_status == 78
    assert [problem.split(": ")[:2] for problem in caught.value.problems] == [
        [f"{file}:2", "daemon.queue"],
        [f"{file}:3", "daemon.queues"],
    ]


def test_a_byte_order_mark_is_no_fault(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf[daemon]\nqueue = 3\n")
    assert load(file).daemon.queue == 3


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            b"[daemon]\nqueue == 1\n",
            "FILE:2: Invalid value, expected TOML",
        ),
        (
            b'[daemon]\ncontrol = "/run\n',
            "FILE:2: Illegal character '\\n', expected TOML",
        ),
        (
            b"[daemon]\n\nqueue =",
            "FILE:3: Invalid value at the end of the file, expected TOML",
        ),
        (
            b"[daemon]\nqueue = 1\nqueue = 2\n",
            "FILE:3: Cannot overwrite a value, expected TOML",
        ),
        (
            b"[daemon]\n[daemon]\n",
            "FILE:2: Cannot declare daemon twice, expected TOML",
        ),
        (
            b'a = {b = 1}\n[a."x y"]\n',
            'FILE:2: Cannot declare a."x y" twice, expected TOML',
        ),
        (
            b"[daemon]\nlog_level = '\xff'\n",
            "FILE:2: byte 0xff is not UTF-8, expected text in UTF-8",
        ),
        (
            b"a = " + b"[" * 100_000,
            "FILE: nested too deeply, expected TOML of a few levels",
        ),
        (
            b"#" * (MAX_BYTES + 1),
            "FILE: longer than 16777216 bytes, expected a configuration",
        ),
    ],
    ids=["syntax", "string", "end", "twice", "table-twice", "inline-table", "utf8", "deep", "long"],
)
def test_a_file_that_holds_no_toml_is_one_clear_line(file: Path, data: bytes, line: str) -> None:
    assert refused(file, data) == [line]


def test_a_number_too_long_for_python_is_one_clear_line(file: Path) -> None:
    assert refused(file, b"a = " + b"9" * 5000) == [
        "FILE: a number of more than 4300 digits, expected TOML of numbers that fit 64 bits"
    ]


def test_a_missing_file_and_a_directory_are_one_clear_line_each(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert [str(problem) for problem in check(missing)[1]] == [
        f"{missing}: No such file or directory, expected a readable file"
    ]
    assert [str(problem) for problem in check(tmp_path)[1]] == [
        f"{tmp_path}: it is a directory, expected a regular file"
    ]
