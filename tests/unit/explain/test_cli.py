"""``lvsd explain`` as it is typed: what comes out, and what bad input gets."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import lvsd.explain
from lvsd.cli import main
from lvsd.config.fields import ADDRESS
from lvsd.explain import explain
from lvsd.explain.captures import pcap

if TYPE_CHECKING:
    from pathlib import Path

    from pytest import CaptureFixture, MonkeyPatch  # noqa: PT013 - names of types

CONFIG = """\
[[service]]
name = "web"
address = "198.51.100.10:80"
protocol = "tcp"
[[service.server]]
address = "10.0.0.13:8080"
"""


def output(capsys: CaptureFixture[str], *words: str) -> str:
    """Return what the command says when all is well."""
    assert main(["explain", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def complaint(capsys: CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Return the exit status and the one line that is said."""
    status = main(["explain", *words])
    (line,) = capsys.readouterr().err.splitlines()
    return status, line


@pytest.mark.parametrize("mode", ["nat", "dr", "tun", "fullnat"])
@pytest.mark.parametrize("columns", ["60", "200"])
def test_the_text_fits_the_terminal_and_loses_nothing(
    capsys: CaptureFixture[str], monkeypatch: MonkeyPatch, mode: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = output(capsys, "--mode", mode, "-6", "--checksums", "--earlier", "3")
    assert [line for line in out.splitlines() if len(line) > int(columns)] == []
    assert "\x1b" not in out
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
    assert "\n\n\n" not in out
    said = " ".join(out.split())
    told = explain(mode, ipv6=True, earlier=3)
    assert told.choice
    assert told.plan
    changes = [
        change for journey in told.journeys for hop in journey.hops for change in hop.changes
    ]
    expected = {
        *(str(step) for step in told.plan.request),
        *(candidate.text for candidate in told.choice.candidates),
        *(change.cause.text for change in changes),
        *(f"{each.before} -> {each.after}" for each in changes if each.before and each.after),
        *(journey.outcome for journey in told.journeys),
    }
    assert {each for each in expected if each not in said} == set()


def test_a_terminal_gets_colours(capsys: CaptureFixture[str], monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1;32mset destination" in output(capsys, "--mode", "nat")


def test_only_some_packets(capsys: CaptureFixture[str]) -> None:
    out = output(capsys, "--packets", "2-3")
    titles = [line for line in out.splitlines() if line[:1].isdigit()]
    assert titles == ["2. SYN ACK (reply)", "3. ACK (request)"]


def test_json_has_everything(capsys: CaptureFixture[str]) -> None:
    told = explain("fullnat")
    found = json.loads(output(capsys, "--mode", "fullnat", "--json"))
    assert found == json.loads(json.dumps(lvsd.explain.as_data(told)))
    assert found["plan"]["request"][0] == "set source 10.0.0.2:1025"
    hop = found["journeys"][0]["hops"][2]
    assert bytes.fromhex(hop["frame"]["data"]) == told.journeys[0].hops[2].frame.data
    assert hop["changes"][0]["cause"] == {
        "kind": "forwarding",
        "text": "every hop puts the packet into a frame of its own",
        "step": None,
    }


def test_markdown_has_a_row_per_hop(capsys: CaptureFixture[str]) -> None:
    lines = output(capsys, "--mode", "dr", "--markdown", "--packets", "1").splitlines()
    assert lines[0] == "| packet | hop | to the MAC of | source | destination | TTL |"
    assert lines[4] == (
        "|  | director sends | **server3** | 192.0.2.100:40000 | 198.51.100.10:80 | **63** |"
    )
    assert len(lines) == 2 + len(explain("dr").journeys[0].hops)


def test_a_capture_file_per_hop_that_tshark_opens(
    capsys: CaptureFixture[str], tmp_path: Path
) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("needs tshark; `make system` installs it")
    files = output(capsys, "--mode", "tun", "--pcap", str(tmp_path / "hops")).split()
    told = explain("tun")
    places = {
        (hop.host, hop.interface, hop.title) for journey in told.journeys for hop in journey.hops
    }
    assert len(files) == len(places)
    (leaving,) = [name for name in files if "director-back-sends" in name]
    fields = ["ip.src", "ip.dst", "ip.ttl", "tcp.dstport", "ip.checksum.status"]
    command = [tshark, "-r", leaving, "-T", "fields", "-o", "ip.check_checksum:TRUE"]
    for field in fields:
        command += ["-e", field]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    first, *others = shown.splitlines()
    assert first.split("\t") == [
        "10.0.0.1,192.0.2.100",
        "10.1.0.13,198.51.100.10",
        "63,63",
        "80",
        "1,1",
    ]
    assert len(others) == 4


def test_picks_in_a_row(capsys: CaptureFixture[str]) -> None:
    out = output(capsys, "--scheduler", "wlc", "--weights", "3,2,1", "--picks", "7")
    picked = [line.split()[-1] for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert picked == list("CBAABAC")
    table = output(capsys, "--picks", "2", "--markdown")
    assert table.splitlines()[0] == "| pick | A | B | C | picked |"
    assert len(json.loads(output(capsys, "--picks", "3", "--json"))) == 3


@pytest.mark.parametrize(
    ("name", "what", "clients"),
    [("sh", "client", ["10.0.0.1", "10.0.0.2"]), ("dh", "destination", ["10.0.0.1"])],
)
def test_picks_by_address_show_whose(
    capsys: CaptureFixture[str], name: str, what: str, clients: list[str]
) -> None:
    words = ["--scheduler", name, "--picks", "2", "--clients", ",".join(clients)]
    header, _, *rows = output(capsys, *words, "--markdown").splitlines()
    assert header.split("|")[2].strip() == what
    assert [row.split("|")[2].strip() for row in rows] == (clients * 2)[:2]
    assert what in output(capsys, *words)


def test_a_capture_is_explained_packet_by_packet(
    capsys: CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "lvsd.toml").write_text(CONFIG)
    frames = [each.hops[1].frame.data for each in explain("nat").journeys[:2]]
    with (tmp_path / "in.pcap").open("wb") as file:
        pcap.write(file, enumerate(frames))
    words = ["--pcap", str(tmp_path / "in.pcap"), "-c", str(tmp_path / "lvsd.toml")]
    out = output(capsys, *words)
    assert "1. 192.0.2.100:40000 -> 198.51.100.10:80 (request)" in out
    assert "set source 198.51.100.10:80" in out
    rows = [json.loads(line) for line in output(capsys, *words, "--json").splitlines()]
    assert [row["number"] for row in rows] == [1, 2]

    none = output(capsys, *words, "--packets", "3")
    assert none == f"{tmp_path / 'in.pcap'}: no packet of these numbers\n"

    (tmp_path / "in.pcap").write_bytes((tmp_path / "in.pcap").read_bytes()[:-7])
    assert main(["explain", *words]) == 65
    out, err = capsys.readouterr()
    assert "1. 192.0.2.100:40000" in out
    assert "cut off in packet 2" in err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--mode", "best"], 64, "mode 'best' is not known"),
        (["--scheduler", "best"], 64, "no scheduler 'best'; there are: rr"),
        (["--weights", "a,b"], 64, "argument --weights: 'a,b' is not a list of numbers"),
        (["--weights", "1", "--server", "10.0.0.1", "--server", "10.0.0.2"], 64, "weights: 1 of"),
        (["--packets", "3-1"], 64, "argument --packets: '3-1' is not a range of packets"),
        (["--picks", "0"], 64, "picks are 1 to 1000, not 0"),
        (["--picks", "3", "--html", "x"], 64, "--picks is shown as text"),
        (["--picks", "3", "--scheduler", "best"], 64, "no scheduler 'best'"),
        (["-c", "lvsd.toml"], 64, "-c goes with --pcap FILE"),
        (["--picks", "3", "--mode", "dr"], 64, "--mode does not go with --picks"),
        (["--clients", "10.0.0.1"], 64, "--clients goes with --picks"),
        (["--dip", "10.0.0.1"], 64, "--dip goes with -c"),
        (["--json", "--svg"], 64, "of --svg, --json only one can go to stdout"),
        (["--packets", "9"], 64, "--packets: there are 8 packets, none is 9"),
        (["--packets", "1", "--json"], 64, "--packets goes with text and --markdown"),
        (["--pcap", ""], 64, "argument --pcap: an empty name is no file"),
        (["--pcap", "-"], 64, "--pcap: - is no directory"),
        (["--svg", "/proc/version/x.svg"], 73, "/proc/version/x.svg: cannot be written"),
        (["--pcap", "/proc/version/hops"], 73, "/proc/version/hops: cannot be written"),
    ],
)
def test_bad_input_gets_a_line_and_its_status(
    capsys: CaptureFixture[str], words: list[str], status: int, text: str
) -> None:
    found, line = complaint(capsys, *words)
    assert (found, line.startswith(f"lvsd: {text}")) == (status, True), line


def test_bad_files_get_a_line_and_their_status(capsys: CaptureFixture[str], tmp_path: Path) -> None:
    config, other = tmp_path / "lvsd.toml", tmp_path / "other"
    config.write_text(CONFIG)
    other.write_text("[[service]]\n")
    missing = str(tmp_path / "missing")
    assert complaint(capsys, "--pcap", str(config))[0] == 64
    assert complaint(capsys, "--pcap", str(config), "-c", str(config))[0] == 65
    assert complaint(capsys, "--pcap", missing, "-c", str(config))[0] == 66
    assert complaint(capsys, "--pcap", missing, "-c", missing)[0] == 78
    status, line = complaint(capsys, "--pcap", str(config), "-c", str(config), "--dip", "here")
    assert (status, line) == (64, 'lvsd: --dip: "here" is no address, expected ' + ADDRESS)


def test_the_ten_lines_for_teachers_run(capsys: CaptureFixture[str]) -> None:
    _, _, example = (lvsd.explain.__doc__ or "").partition("::\n")
    lines = example.partition("What comes back")[0].splitlines()
    code = "\n".join(line.removeprefix("    ") for line in lines)
    exec(compile(code, "the docstring", "exec"), {})  # noqa: S102 - it is ours
    out = capsys.readouterr().out
    assert "because: set source 10.0.0.2:1025" in out
