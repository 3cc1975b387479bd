"""Command lines for ipvsadm and lvsadm: from scripts as people publish them, and at random.

Those at random come from a grammar, good ones and bad ones, about a few services and real servers,
so that they meet each other on a table that changes.
"""

from __future__ import annotations

import shlex
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Final

from tests.kernel.scenario import Scenario, Typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAVE: Final = Typed(("-Sn",))
SAVED_EVERY: Final = 8
"""After so many lines the whole table is looked at."""


def script(name: str, text: str) -> Scenario:
    """Return a script as a scenario: a command line a line, ``<<<`` before a last word's text."""
    return Scenario(name, (*map(_typed, text.strip().splitlines()), SAVE))


def _typed(line: str) -> Typed:
    command, _, text = line.strip().removeprefix("ipvsadm ").partition(" <<< ")
    return Typed(tuple(shlex.split(command)), text.encode().decode("unicode_escape"))


ROWS: Final = frozenset({"what `ipvsadm` says of a value or option that is wrong", "`ipvsadm -S`"})
"""Rows of docs/differences.md that let answers differ."""

# --- scripts --------------------------------------------------------------------------------

SCRIPTS: Final = {
    "three web servers by NAT, as in a howto": """
        ipvsadm -C
        ipvsadm -A -t 192.0.2.10:80 -s rr
        ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 1
        ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.2:8080 -m -w 2
        ipvsadm -a -t 192.0.2.10:80 -r 10.0.0.3 -m
        ipvsadm -Ln
        ipvsadm -Ln --stats
    """,
    "direct routing, its service run again by mistake": """
        ipvsadm --add-service --tcp-service 192.0.2.10:23 --scheduler wlc
        ipvsadm --add-server --tcp-service 192.0.2.10:23 --real-server 10.0.0.1 --gatewaying
        ipvsadm --add-server --tcp-service 192.0.2.10:23 --real-server 10.0.0.2 -g --weight 3
        ipvsadm --add-service --tcp-service 192.0.2.10:23 --scheduler wlc
        ipvsadm --add-server --tcp-service 192.0.2.10:23 --real-server 10.0.0.2 -g --weight 3
        ipvsadm --list --numeric
    """,
    "tunnels of all kinds": """
        ipvsadm -A -t 192.0.2.11:443 -s wrr -p 60
        ipvsadm -a -t 192.0.2.11:443 -r 10.0.0.1 -i
        ipvsadm -a -t 192.0.2.11:443 -r 10.0.0.2:443 -i --tun-type gue --tun-port 6080
        ipvsadm -a -t 192.0.2.11:443 -r 10.0.0.3 -i --tun-type gue --tun-port 6080 --tun-csum
        ipvsadm -a -t 192.0.2.11:443 -r 10.0.0.4 -i --tun-type gre
        ipvsadm -a -t 192.0.2.11:443 -r 10.0.0.5 -i --tun-type gre --tun-csum
        ipvsadm -a -t 192.0.2.11:443 -r [2001:db8:2::1]:443 -i
        ipvsadm -Ln --tun-info
        ipvsadm -e -t 192.0.2.11:443 -r 10.0.0.2 -i -w 2
        ipvsadm -Ln --tun-info -t 192.0.2.11:443
    """,
    "http and https of a shop by one mark, clients of a network together": """
        ipvsadm -A -f 80 -s wlc -p 3600 -M 255.255.255.0
        ipvsadm -a -f 80 -r 10.0.0.1 -m
        ipvsadm -a -f 80 -r 10.0.0.2 -m -w 2
        ipvsadm -A -f 80 -6 -s wlc -p 3600 -M 64
        ipvsadm -a -f 80 -6 -r [2001:db8:2::1]:0 -m
        ipvsadm -E -f 80 -s wlc -p 600
        ipvsadm -Ln -f 80
        ipvsadm -Ln -f 80 -6
        ipvsadm -D -f 80 -6
        ipvsadm -D -f 80 -6
    """,
    "a cluster's node makes and changes the services of its pods": """
        ipvsadm -A -t 192.0.2.20:443 -s rr
        ipvsadm -a -t 192.0.2.20:443 -r 10.0.0.5:6443 -m -w 1
        ipvsadm -A -t 192.0.2.21:53 -s rr
        ipvsadm -A -u 192.0.2.21:53 -s rr
        ipvsadm -a -t 192.0.2.21:53 -r 10.0.0.6:53 -m -w 1
        ipvsadm -a -u 192.0.2.21:53 -r 10.0.0.6:53 -m -w 1
        ipvsadm -a -u 192.0.2.21:53 -r 10.0.0.7:53 -m -w 1
        ipvsadm -e -u 192.0.2.21:53 -r 10.0.0.6:53 -m -w 0
        ipvsadm -d -u 192.0.2.21:53 -r 10.0.0.6:53
        ipvsadm -d -u 192.0.2.21:53 -r 10.0.0.6:53
        ipvsadm -Ln -u 192.0.2.21:53
        ipvsadm -D -t 192.0.2.20:443
        ipvsadm -Ln -t 192.0.2.20:443
    """,
    "a health checker takes servers out and puts them back": """
        ipvsadm -A -t 192.0.2.10:25 -s lc -p 50
        ipvsadm -a -t 192.0.2.10:25 -r 10.0.0.1:25 -m -w 10 -x 100 -y 80
        ipvsadm -a -t 192.0.2.10:25 -r 10.0.0.2:25 -m -w 10
        ipvsadm -d -t 192.0.2.10:25 -r 10.0.0.1:25
        ipvsadm -a -t 192.0.2.10:25 -r 10.0.0.9:25 -m -w 1
        ipvsadm -e -t 192.0.2.10:25 -r 10.0.0.2:25 -m -w 0
        ipvsadm -a -t 192.0.2.10:25 -r 10.0.0.1:25 -m -w 10
        ipvsadm -d -t 192.0.2.10:25 -r 10.0.0.9:25
        ipvsadm -Ln --thresholds
        ipvsadm -Ln --persistent-conn
        ipvsadm -Ln --rate
    """,
    "a table is saved and restored": r"""
        ipvsadm -R <<< -A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.1:80 -m -w 1\n
        ipvsadm -Sn
        ipvsadm -R <<< ipvsadm -A -u 192.0.2.10:53 -s sh -b sh-port -o\n\n--set 60 30 20
        ipvsadm -L --timeout
        ipvsadm --restore <<< -E -t 192.0.2.10:80 -s sed\n-D -u 192.0.2.10:53\n
        ipvsadm --save --numeric
        ipvsadm -C
        ipvsadm -S -n
        ipvsadm --set 900 120 300
    """,
    "timeouts, counters, and the daemons that there are not": """
        ipvsadm --set 900 120 300
        ipvsadm --set 0 0 60
        ipvsadm -L --timeout
        ipvsadm --set 900 120
        ipvsadm --set 900 120 300 1
        ipvsadm --set a 120 300
        ipvsadm --set -1 120 300
        ipvsadm --set 2678401 1 1
        ipvsadm --set 900 120 300
        ipvsadm -L --timeout --numeric
        ipvsadm -L --daemon
        ipvsadm --stop-daemon master
        ipvsadm --stop-daemon nobody
        ipvsadm --start-daemon nobody
        ipvsadm -A -t 192.0.2.10:80
        ipvsadm -Z
        ipvsadm -Z -t 192.0.2.10:80
        ipvsadm -Z -t 192.0.2.10:81
        ipvsadm --zero --numeric
    """,
    "lists that are asked for in the wrong way": """
        ipvsadm -A -t 192.0.2.10:80
        ipvsadm -Lnc
        ipvsadm -L --connection --persistent-conn
        ipvsadm -Ln --exact --stats
        ipvsadm -Ln --sort --sort
        ipvsadm -Lnc --stats
        ipvsadm -Lnc -t 192.0.2.10:80
        ipvsadm -L --timeout -c
        ipvsadm -L --timeout --rate
        ipvsadm -L --daemon --timeout
        ipvsadm -L -n -n
        ipvsadm -L -t 192.0.2.10:81
        ipvsadm -L -f 99 -6
        ipvsadm -L -s rr
        ipvsadm -L -6
        ipvsadm -L extra
        ipvsadm -LS
        ipvsadm -l --weight 5
        ipvsadm -S --stats
        ipvsadm -C -n
    """,
    "IPv6": """
        ipvsadm -A -t [2001:db8:f::10]:80 -s wlc
        ipvsadm -a -t [2001:db8:f::10]:80 -r [2001:db8:2::1]:8080 -m
        ipvsadm -a -t [2001:db8:f::10]:80 -r 2001:db8:2::2 -g
        ipvsadm -a -t [2001:db8:f::10]:80 -r [2001:db8:2::3] -m
        ipvsadm -a -t [2001:db8:f::10]:80 -r 10.0.0.1 -m
        ipvsadm -a -t [2001:db8:f::10]:80 -r 10.0.0.1 -i
        ipvsadm -A -t 2001:db8:f::11 -p 30 -M 48
        ipvsadm -A -t 2001:db8:f::12 -p 30 -M 129
        ipvsadm -A -t [2001:db8:f::12]
        ipvsadm -A -t [2001:db8:f::zz]:80
        ipvsadm -Ln
    """,
}


# --- at random ------------------------------------------------------------------------------

_SERVICES: Final = (
    *("-t 192.0.2.10:80", "-t 192.0.2.10:443", "-u 192.0.2.10:53", "--sctp-service 192.0.2.10:9"),
    *("-t [2001:db8:f::10]:80", "-t 192.0.2.11:0", "-f 7", "-f 8 -6"),
)
_SERVERS: Final = ("10.0.0.1", "10.0.0.2:8080", "10.0.0.3:80", "[2001:db8:2::1]:80")
_SCHEDULERS: Final = (
    *("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"),
)
_FLAGS: Final = {"sh": ("sh-port", "sh-fallback"), "mh": ("mh-port", "flag-1,mh-port")}
_METHODS: Final = ("-m", "-m", "-m", "-g", "-i", "-i --tun-type gue --tun-port 6080", "")
_COMMANDS: Final = (
    *("-A", "-A", "-A", "-a", "-a", "-a", "-a", "-E", "-e", "-e", "-D", "-d", "-d"),
    *("-Ln", "-Z"),
)
_LONG: Final = {
    "-A": "--add-service",
    "-E": "--edit-service",
    "-D": "--delete-service",
    "-a": "--add-server",
    "-e": "--edit-server",
    "-d": "--delete-server",
    "-t": "--tcp-service",
    "-u": "--udp-service",
    "-f": "--fwmark-service",
    "-6": "--ipv6",
    "-r": "--real-server",
    "-s": "--scheduler",
    "-p": "--persistent",
    "-o": "--ops",
    "-b": "--sched-flags",
    "-w": "--weight",
    "-x": "--u-threshold",
    "-m": "--masquerading",
    "-g": "--gatewaying",
    "-i": "--ipip",
    "-M": "--netmask",
    "-Z": "--zero",
}

_FAULTS: Final = (
    # an option that there is not, or without what it needs
    *("-q", "--quick", "-w", "--weight", "-t", "--ops=1", "--sched rr"),
    # one that belongs to another command, or was said before
    *("-n", "-s rr", "-r 10.0.0.9", "-m", "-g -m", "-w 3", "-x 5", "-o", "-p 5", "-c", "--stats"),
    *("--timeout", "--tun-info", "--tun-type gre", "--tun-csum", "--exact", "--syncid 5"),
    *("-M 255.255.255.0", "-t 192.0.2.10:80", "-f 9", "-6", "--nosort", "--daemon"),
    # a wrong value
    *("-w -1", "-w x", "-w 2147483648", "-x -1", "-y 1.5", "-p 0", "-p abc", "-p 2678401"),
    *("-b nosuch", "-b sh-port", "-b mh-port", "-t 80", "-t 192.0.2.10:70000", "-t :80", "-f 0"),
    *("-f 0x10", "-M x", "--tun-type sit", "--tun-port 0", "-r 10.0.0.1:nosuchport", "-r [::1"),
    # a word too many, or another command
    *("extra", "-", "-- -n", "-D", "-L", "--set", "-h"),
)


def at_random(seed: int, length: int) -> Scenario:
    """Return so many lines from the grammar, and the table after every few of them."""
    random = Random(seed)
    lines = [Typed(tuple(_line(random))) for _ in range(length)]
    parts = [(*lines[at : at + SAVED_EVERY], SAVE) for at in range(0, len(lines), SAVED_EVERY)]
    return Scenario(f"command lines at random, seed {seed}", tuple(chain.from_iterable(parts)))


def _line(random: Random) -> Iterator[str]:
    command = random.choice(_COMMANDS)
    parts = list(_parts(random, command))
    if random.random() < 0.3:
        parts.insert(random.randint(0, len(parts)), random.choice(_FAULTS))
    elif random.random() < 0.1 and parts:
        parts.remove(random.choice(parts))
    yield from _spelt(random, command)
    for part in parts:
        yield from _spelt(random, part)


def _parts(random: Random, command: str) -> Iterator[str]:
    """Yield the options of a command."""
    if command == "-Ln" or (command == "-Z" and random.random() < 0.5):
        yield from random.sample(("--stats", "--exact", "--tun-info"), random.randint(0, 2))
        return
    parts = [random.choice(_SERVICES)]
    if command in {"-A", "-E"}:
        parts += _of_service(random, parts[0])
    elif command in {"-a", "-e", "-d"}:
        parts.append(f"-r {random.choice(_SERVERS)}")
        parts += _of_server(random) if command != "-d" else []
    # A mask of IPv6 before the service is what ipvsadm loses (docs/differences.md).
    if random.random() < 0.3 and "-M 64" not in parts:
        random.shuffle(parts)
    yield from parts


def _of_service(random: Random, service: str) -> Sequence[str]:
    scheduler = random.choice(_SCHEDULERS)
    parts = [f"-s {scheduler}"] if random.random() < 0.8 else []
    if parts and scheduler in _FLAGS and random.random() < 0.5:
        parts.append(f"-b {random.choice(_FLAGS[scheduler])}")
    if random.random() < 0.4 or service.endswith(":0"):
        parts.append(random.choice(("-p", "-p 30", "-p60")))
        if random.random() < 0.3:
            is_ipv6 = service.startswith("-t [") or service.endswith("-6")
            parts.append("-M 64" if is_ipv6 else "-M 255.255.255.0")
    if service.startswith("-u") and random.random() < 0.5:
        parts.append("-o")
    return parts


def _of_server(random: Random) -> Sequence[str]:
    parts = [method] if (method := random.choice(_METHODS)) else []
    if random.random() < 0.6:
        parts.append(f"-w {random.choice((0, 1, 2, 100, 65535))}")
    if random.random() < 0.3:
        parts.append(random.choice(("-x 100", "-x 100 -y 50", "-x 5 -y 5")))
    return parts


def _spelt(random: Random, part: str) -> Iterator[str]:
    """Yield the words of a part, spelt in one of the ways that there are."""
    first, *rest = part.split()
    if first in _LONG and random.random() < 0.3:
        first = _LONG[first]
        if len(rest) == 1 and random.random() < 0.3:
            first, rest = f"{first}={rest[0]}", []
    elif first in _LONG and len(rest) == 1 and random.random() < 0.2:
        first, rest = f"{first}{random.choice(('', '='))}{rest[0]}", []
    yield first
    yield from rest
