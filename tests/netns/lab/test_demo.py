"""``lvsd lab`` and ``lvsd demo`` as they are typed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from lvsd.cli import main
from lvsd.errors import KernelError
from lvsd.lab import Lab, programs, settings
from lvsd.lab.wait import PATIENCE
from lvsd.net.namespaces import NETNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

pytestmark = pytest.mark.netns


def lvsd(*words: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run lvsd by an interpreter of its own, as it is typed."""
    size = {} if columns is None else {"COLUMNS": str(columns)}
    return subprocess.run(
        [sys.executable, "-m", "lvsd", *words],
        env=os.environ | size,
        capture_output=True,
        text=True,
        check=False,
    )


def here(*words: str, columns: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run it in this process, where all that it starts of lvsd starts quickly, other than above."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        pytest.MonkeyPatch.context() as patch,
    ):
        if columns is not None:
            patch.setenv("COLUMNS", str(columns))
        with leading_to(1, out), leading_to(2, err):
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            status = main(words)
            patch.undo()
        said = []
        for stream in (out, err):
            stream.flush()
            stream.seek(0)
            said.append(stream.read())
    return subprocess.CompletedProcess(words, status, *said)


@contextlib.contextmanager
def leading_to(descriptor: int, file: TextIO) -> Iterator[None]:
    """Have what is written to a descriptor, by programs as well, go to a file."""
    before = os.dup(descriptor)
    os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        os.dup2(before, descriptor)
        os.close(before)


def widest(lines: Sequence[str]) -> int:
    return max(map(len, lines))


@dataclass(frozen=True)
class Told:
    """What `lvsd demo` said on a narrow terminal, and how it ended."""

    status: int
    printed: str
    complaints: str

    def mode(self, name: str) -> str:
        """Return what was said of a mode: from its heading to the next one."""
        _, rest = re.split(rf"^─+ {name}: .*$", self.printed, flags=re.MULTILINE)
        return re.split(r"^─+ .*$", rest, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.fixture(scope="module")
def told() -> Told:
    """Run the whole demo once for all tests."""
    demo = here("demo", columns=60)
    return Told(demo.returncode, demo.stdout, demo.stderr)


def test_the_demo_comes_out_as_the_schedulers_say(told: Told) -> None:
    assert told.complaints == ""
    assert told.status == 0, told.printed
    lines = told.printed.splitlines()
    commands = [line for line in lines if line.startswith("  lvsd ")]
    listing = [line for line in lines if line.startswith("control = ")]
    unwrapped = {*commands, *listing}
    assert widest([line for line in lines if line not in unwrapped]) <= 60
    assert list(NETNS.glob(f"lvsd-demo-{os.getpid()}-*")) == []


def test_the_demo_says_so_when_a_server_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from lvsd.lab import demo  # noqa: PLC0415 - patched below

    nginx = programs.nginx
    monkeypatch.setattr(
        programs, "nginx", lambda space: None if space.host == "server2" else nginx(space)
    )

    assert demo.main(["--mode", "nat"]) == 1


WAYS_OF_REPLIES = pytest.mark.parametrize(
    ("mode", "proof", "seen"),
    [
        ("nat", "replies come back by the director", "> 8080, "),
        ("dr", "replies bypass the director", "Ethernet 02:00:0a:00:00:01 > 02:00:0a:00:00:0"),
        ("tun", "replies bypass the director", "  IP"),
        ("fullnat", "replies come back by the director", "options TOA "),
    ],
)


@WAYS_OF_REPLIES
def test_the_demo_proves_the_way_of_replies_in_each_mode_and_shows_a_packet(
    told: Told, mode: str, proof: str, seen: str
) -> None:
    assert_proven(told.mode(mode), proof, seen)


@WAYS_OF_REPLIES
def test_the_demo_of_one_mode_over_ipv6_proves_the_way_of_replies_and_shows_a_packet(
    mode: str, proof: str, seen: str
) -> None:
    run = lvsd if mode == "nat" else here
    demo = run("demo", "--mode", mode, "--ipv6", columns=200)

    assert demo.returncode == 0, demo.stdout
    assert_proven(demo.stdout, proof, seen)


def assert_proven(text: str, proof: str, seen: str) -> None:
    """Want the proof in the text, in lines however short, and what is seen in a packet below."""
    assert proof in " ".join(text.split())
    packets = text.partition("One more request on its way")[2]
    assert seen in packets or seen in packets.replace("\n", " ")
    assert "wrong" not in packets


def test_without_toa_the_demo_says_so_and_expects_local_addresses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lvsd.lab import demo, real_server  # noqa: PLC0415 - patched below

    failing = ["sh", "-c", "echo no BPF; exit 71"]
    monkeypatch.setattr(real_server, "reading_toa", lambda _: failing)

    assert demo.main(["--mode", "fullnat"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "TOA cannot be read here, so nginx sees a local address: " in said
    assert "it said: no BPF" in said


def test_the_demo_says_so_when_replies_do_not_take_the_way_of_the_mode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lvsd.lab import build, demo, plan  # noqa: PLC0415 - patched below

    def by_the_director(number: int, way: str) -> plan.Node:
        return replace(real_server(number, way), gateway=plan.BACK.host(plan.DIRECTOR))

    real_server = plan._real_server
    monkeypatch.setattr(plan, "_real_server", by_the_director)
    monkeypatch.setitem(build.SYSCTLS, "net.ipv4.ip_forward", "1")  # or no reply comes at all

    assert demo.main(["--mode", "dr"]) == 1
    assert "replies did not bypass the director" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["dr", "tun", "fullnat"])
def test_in_a_lab_of_each_mode_the_server_sees_the_client(mode: str) -> None:
    words = ("lab", "--mode", mode, "--servers", "1", "--", "sh", "-c")

    asked = here(*words, 'curl -sS -m 5 "http://$VIP/" "http://[$VIP6]/"')

    assert asked.stderr == ""
    assert asked.stdout == "server1 192.0.2.100\nserver1 2001:db8:1::100\n"


def test_a_mixed_lab_has_a_server_of_each_mode_behind_one_address_of_either_family() -> None:
    ask = """
        for vip in "$VIP" "[$VIP6]"; do
            for i in 1 2 3 4; do curl -sS -m 5 "http://$vip/"; done
        done"""

    asked = here("lab", "--mode", "mixed", "--scheduler", "rr", "--", "sh", "-c", ask)

    assert asked.stderr == ""
    names = asked.stdout.split()[::2]
    for answers in (names[:4], names[4:]):
        assert sorted(answers) == ["server1", "server2", "server3", "server4"]


def test_the_commands_of_a_mixed_lab_fit_its_modes() -> None:
    shown = here("lab", "--mode", "mixed", "--for", "0", "--json")

    report = json.loads(shown.stdout)
    name = report["name"]
    assert {host: report["hosts"][host].get("way") for host in ("router", "server3")} == {
        "router": None,
        "server3": "tun",
    }
    assert [line for line in report["commands"].values() if "tcpdump" in line] == [
        f"ip netns exec {name}-director tcpdump -ni front port 80",
        f"ip netns exec {name}-director tcpdump -ni back port 8080",
        f"ip netns exec {name}-director tcpdump -eni back port 80",
        f"ip netns exec {name}-router tcpdump -ni front src port 80",
        f"ip netns exec {name}-director tcpdump -ni back 'ip proto 4 or ip6 proto 41'",
        f"ip netns exec {name}-director tcpdump -vni back dst port 8080",
    ]


def test_a_command_runs_as_the_client_and_its_status_is_ours() -> None:
    ask = 'curl -sS "http://$VIP/" "http://[$VIP6]/"; exit 7'

    asked = lvsd("lab", "--", "sh", "-c", ask)

    assert asked.stderr == ""
    assert asked.returncode == 7
    assert asked.stdout.split()[1::2] == ["192.0.2.100", "2001:db8:1::100"]


def test_the_map_is_printed_as_json() -> None:
    shown = lvsd("lab", "--no-daemon", "--servers", "1", "--for", "0", "--json")

    report = json.loads(shown.stdout)
    assert sorted(report["hosts"]) == ["client", "director", "server1"]
    assert report["vip"] == {"v4": "198.51.100.10", "v6": "2001:db8:51::10"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_lab_stays_until_it_is_told_to_end(number: signal.Signals, status: int) -> None:
    argv = [sys.executable, "-m", "lvsd", "lab", "--servers", "1", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, "it ended before it said all"
            text += line
        name = json.loads(text)["name"]
        assert len(list(NETNS.glob(f"{name}-*"))) == 3

        process.send_signal(number)

        assert process.wait(60 * PATIENCE) == status
    assert list(NETNS.glob(f"{name}-*")) == []


def test_a_daemon_that_cannot_start_is_quoted() -> None:
    config = """
[[service]]
name = "web"
address = "198.51.100.10:80"
protocol = "tcp"
scheduler = "nonesuch"
"""
    problem = r"ended with status 78; it said: .*nonesuch"

    with Lab(name="lvsd-test", servers=1) as lab, pytest.raises(KernelError, match=problem):
        programs.lvsd(lab.director, config)


def test_a_daemon_stops_with_status_zero() -> None:
    with Lab(name="lvsd-test", servers=1) as lab:
        daemon = programs.lvsd(lab.director, settings.toml([], lab.directory / "c.sock"))
        assert daemon.control.is_socket()

        assert daemon.stop() == 0
