"""``lvsd explain --live`` takes what the lab has, and says so of all else."""

from __future__ import annotations

import pytest

from lvsd.errors import UsageError
from lvsd.lab.live_cli import main


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--vip", "192.0.2.10"], "--vip does not go with --live"),
        (["--server", "10.0.0.1"], "--server does not go with --live"),
        (["--earlier", "3"], "--earlier does not go with --live"),
        (["-c", "lvsd.toml"], "--config does not go with --live"),
        (["--mss-clamp"], "--mss-clamp does not go with --live"),
        (["--vip", ""], "--vip does not go with --live"),
        (["--picks", "0"], "--picks does not go with --live"),
        (["--picks", "3"], "--picks does not go with --live"),
        (["--protocol", "udp"], "--protocol is tcp with --live"),
        (["--tunnel", "gre"], "--tunnel is ipip with --live"),
        (["--mode", "best"], "mode 'best' is not known, expected one of nat, dr, tun, fullnat"),
        (["--scheduler", "best"], "no scheduler 'best'; there are: rr"),
    ],
)
def test_what_the_lab_does_not_have_is_refused_before_it_is_built(
    words: list[str], text: str
) -> None:
    with pytest.raises(UsageError) as raised:
        main(["--live", *words])
    assert str(raised.value).startswith(text)
