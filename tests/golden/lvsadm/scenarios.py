"""What the recorder has ipvsadm do and list, and what is said meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.golden.lvsadm.traffic import FROM_CLIENT, FROM_DIRECTOR, PAST_DIRECTOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.golden.lvsadm.traffic import Exchange


@dataclass(frozen=True)
class Scenario:
    """Commands for ipvsadm, a line each, and the listings that are recorded after them.

    ``talks`` are clients, each with the namespace it is in; ``then`` follows what they say.
    """

    name: str
    setup: str
    listings: str
    talks: Sequence[tuple[str, Sequence[Exchange]]] = ()
    then: str = ""


SERVICES = """
-A -t 192.0.2.10:80 -s wrr
-a -t 192.0.2.10:80 -r 10.0.0.11:8080 -m -w 3
-a -t 192.0.2.10:80 -r 10.0.0.12:8080 -m -w 0 -x 100 -y 80
-a -t 192.0.2.10:80 -r 10.0.0.9:8080 -m -w 65535 -x 2147483647
-A -t 192.0.2.10:443
-a -t 192.0.2.10:443 -r 10.0.0.11 -g
-a -t 192.0.2.10:443 -r 10.0.0.12 -i
-A -u 192.0.2.10:53 -s rr -o
-a -u 192.0.2.10:53 -r 10.0.0.11:5353 -m
-A --sctp-service 192.0.2.10:36412 -s lc
-a --sctp-service 192.0.2.10:36412 -r 10.0.0.11:36412 -m
-A -t 10.1.0.1:8080 -s sh -b sh-port
-A -t 10.1.0.2:8080 -s sh -b sh-fallback,sh-port
-A -t 10.1.0.3:8080 -s mh -b mh-fallback
-A -t 10.1.0.4:8080 -s rr -p
-A -t 10.1.0.5:0 -s wlc -p 3600 -M 255.255.255.0
-A -u 203.0.113.250:65535 -s dh -p 60 -M 255.255.0.0 -o
-a -u 203.0.113.250:65535 -r 203.0.113.251:65535 -m -w 100
-A -f 7 -s rr
-a -f 7 -r 10.0.0.11:80 -g
-A -f 1000000 -s sed -p 120
-A -f 7 -6 -s nq
-a -f 7 -6 -r [2001:db8:2::11]:0 -g
-A -t [2001:db8::10]:80 -s rr
-a -t [2001:db8::10]:80 -r [2001:db8:2::12]:8080 -m
-a -t [2001:db8::10]:80 -r [2001:db8:2::11]:8080 -m -w 7
-A -u [2001:db8:1111:2222:3333:4444:5555:6666]:53 -s rr -p 300 -M 64
-a -u [2001:db8:1111:2222:3333:4444:5555:6666]:53 -r [2001:db8:1111:2222:3333:4444:5555:7777]:53 -m
"""

TRAFFIC = """
-A -t 192.0.2.10:80 -s rr
-a -t 192.0.2.10:80 -r 10.0.0.13:8081 -m
-a -t 192.0.2.10:80 -r 10.0.0.11:8080 -m
-a -t 192.0.2.10:80 -r 10.0.0.12:8080 -m
-A -u 192.0.2.10:53 -s rr
-a -u 192.0.2.10:53 -r 10.0.0.11:5353 -m
-A -t 192.0.2.11:0 -s wlc -p 360 -M 255.255.255.0
-a -t 192.0.2.11:0 -r 10.0.0.12:0 -m
-A -f 7 -s rr -p 60
-a -f 7 -r 10.0.0.11:8080 -m
-A -f 7 -6 -s rr -p 60
-a -f 7 -6 -r [2001:db8:2::11]:8080 -m
-A --sctp-service 192.0.2.10:9 -s rr
-a --sctp-service 192.0.2.10:9 -r 10.0.0.11:9 -m
-A -t [2001:db8::10]:80 -s rr
-a -t [2001:db8::10]:80 -r [2001:db8:2::11]:8080 -m
-A -u [2001:db8::10]:53 -s rr -p 300 -M 64
-a -u [2001:db8::10]:53 -r [2001:db8:2::12]:5353 -m
"""

MODES = """
-A -t 192.0.2.13:8080 -s rr
-a -t 192.0.2.13:8080 -r 10.0.0.11 -g
-a -t 192.0.2.13:8080 -r 10.0.0.12 -i
-A -u 192.0.2.13:5353 -s rr
-a -u 192.0.2.13:5353 -r 10.0.0.12:5353 -i
-a -u 192.0.2.13:5353 -r 10.0.0.11:5353 -g -w 2
-A -t [2001:db8::13]:8080 -s rr
-a -t [2001:db8::13]:8080 -r [2001:db8:2::11]:8080 -g
-A -t 192.0.2.14:443 -s wrr -p 60
-a -t 192.0.2.14:443 -r 10.0.0.11:8443 -m
-a -t 192.0.2.14:443 -r 10.0.0.12:443 -g
-a -t 192.0.2.14:443 -r 10.0.0.13:443 -i --tun-type ipip
-a -t 192.0.2.14:443 -r 10.0.0.14:443 -i --tun-type gue --tun-port 6080
-a -t 192.0.2.14:443 -r 10.0.0.15:443 -i --tun-type gue --tun-port 65535 --tun-csum -w 65535
-a -t 192.0.2.14:443 -r 10.0.0.16:443 -i --tun-type gre --tun-nocsum
-a -t 192.0.2.14:443 -r 10.0.0.17:443 -i --tun-type gre --tun-csum
-a -t 192.0.2.14:443 -r [2001:db8:2::11]:443 -i
-a -t 192.0.2.14:443 -r 10.0.0.1:443 -g
-A -t [2001:db8::14]:443 -s wlc
-a -t [2001:db8::14]:443 -r 10.0.0.11:443 -i --tun-type gue --tun-port 1
-A -t 192.0.2.14:0 -p 60
-a -t 192.0.2.14:0 -r 10.0.0.11 -g
-A -f 7 -s rr
-a -f 7 -r 10.0.0.11:0 -i
-A --sctp-service 192.0.2.14:9 -s rr
-a --sctp-service 192.0.2.14:9 -r 10.0.0.11 -g
-a --sctp-service 192.0.2.14:9 -r 10.0.0.12 -i
"""

LISTINGS = """
-Ln
-L -n --stats
-L -n --stats --exact
-l --numeric --rate
-Ln --rate -X
-Ln --thresholds
-Ln --persistent-conn
-Ln --tun-info
-Ln --sort
-Ln --nosort
-Lnc
-L -n -c --persistent-conn
-L --timeout
"""

SELECTED = """
-Ln -t 192.0.2.10:80
-Ln -t=192.0.2.10:80 --stats
-Ln --tcp-service 192.0.2.10:443
-Ln --udp-service=192.0.2.10:53
-Lnu192.0.2.10:53 --rate
-Ln --sctp-service 192.0.2.10:36412
-Ln -f 7
-Ln -f 7 -6
-Ln -t [2001:db8::10]:80
-Ln -t 10.1.0.5 --thresholds
-Ln -t 192.0.2.99:80
-Z -t 192.0.2.99:80
-Z -t 192.0.2.10:80
-Z
"""

TUNNELS = """
-L --tun-info
-Ln --tun-info --nosort
-Ln --tun-info --exact
-Ln --tun-info -t 192.0.2.14:443
-Ln --tun-info --stats
-Ln --tun-info --rate
-Ln --tun-info --thresholds
-Ln --tun-info --persistent-conn
-Lnc --tun-info
-L --timeout --tun-info
"""

NAMES = {
    "192.0.2.10": "www.example.net",
    "10.0.0.11": "a-very-long-name-of-a-real-server.example.net",
    "10.0.0.12": "rs2",
    "2001:db8::10": "www.example.net",
    "2001:db8:2::11": "a-very-long-name-of-a-real-server-that-goes-on.example.net",
}
"""What /etc/hosts says inside the recording kernel."""

PORTS = {"80/tcp": "http", "443/tcp": "https", "53/udp": "domain", "8080/tcp": "http-alt"}
"""What /etc/services says there."""

TALKS = ("cl", FROM_CLIENT), ("", FROM_DIRECTOR)

SCENARIOS = (
    Scenario("empty", "", LISTINGS),
    Scenario("services", SERVICES, LISTINGS + SELECTED),
    Scenario("names", SERVICES, "-L\n-L --stats\n-L -t www.example.net:http"),
    Scenario("timeouts", "--set 1800 60 30", "-L --timeout"),
    Scenario("traffic", TRAFFIC, LISTINGS + "-L -c", TALKS),
    Scenario("zeroed", TRAFFIC, "-Ln --stats\n-Ln --stats -t 192.0.2.10:80", TALKS, "-Z"),
    Scenario("modes", MODES, LISTINGS + TUNNELS, [("cl", PAST_DIRECTOR)]),
)
