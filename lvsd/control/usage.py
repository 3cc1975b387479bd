"""What ``lvsadm -h`` prints after the version."""

from __future__ import annotations

from typing import Final

USAGE: Final = """\
Usage:
  lvsadm -A|E virtual-service [options]                     add or edit a service
  lvsadm -D virtual-service                                 delete a service
  lvsadm -C                                                 delete all services
  lvsadm -a|e virtual-service -r server-address [options]   add or edit a real server
  lvsadm -d virtual-service -r server-address               delete a real server
  lvsadm [-L|-l] [virtual-service] [options]                list services, or connections (-c)
  lvsadm -Z [virtual-service]                               set counters to zero
  lvsadm -S [-n] [--nosort]                                 save: print all as commands
  lvsadm -R                                                 restore: do commands from stdin
  lvsadm --set tcp tcpfin udp                               set timeouts, in seconds; 0: as it is
  lvsadm --status [--json]                                  packets dropped, by reason
  lvsadm drain|undrain|checks|check|save|watch|top          each says more with --help
  lvsadm -h | -v

Commands by their long names:
  --add-service -A     --edit-service -E    --delete-service -D   --clear -C
  --add-server -a      --edit-server -e     --delete-server -d    --set
  --list -L, -l        --zero -Z            --save -S             --restore -R
  --status             --help -h            --version -v
  --start-daemon and --stop-daemon are refused: lvsd has no daemon of synchronization

virtual-service:
  --tcp-service    -t ADDRESS[:PORT]   [IPV6]:PORT for IPv6; names will do
  --udp-service    -u ADDRESS[:PORT]
  --sctp-service      ADDRESS[:PORT]
  --fwmark-service -f MARK             with --ipv6, -6, after it: the mark's IPv6 service

Options of a service (-A, -E); -E resets what is not given:
  --scheduler    -s NAME       rr, wrr, lc, wlc (default), lblc, lblcr, dh, sh, sed, nq, fo, ovf, mh
  --sched-flags  -b FLAGS      sh-port, sh-fallback, mh-port, mh-fallback; with commas
  --persistent   -p [SECONDS]  a client stays with its server; default 360
  --netmask      -M MASK       clients of a network count as one: 255.255.255.0, or 64 for IPv6
  --ops          -o            each datagram is scheduled by itself
  --name NAME                  for logs and --status
  --max-connections NUMBER     entries of its own in the connection table, at most
  --slow-start SECONDS         a server that comes back gets its weight bit by bit
  --mss-clamp                  lower the MSS in SYNs to what fits into a tunnel
  --laddr        -z ADDRESSES  FULLNAT's local addresses, with commas
  --local-ports LOW-HIGH       the ports that these have to give; default 1025-65535
  --tcp-timeout, --udp-timeout, --udp-answered-timeout SECONDS
                               timeouts of its own
  --pe ENGINE                  refused: there is no persistence engine

Options of a real server (-a, -e); -e resets what is not given:
  --real-server  -r ADDRESS[:PORT]  without a port: the service's
  --gatewaying   -g            direct routing, DR (default)
  --ipip         -i            tunnel, TUN
  --masquerading -m            NAT
  --fullnat      -F            FULLNAT
  --weight       -w NUMBER     0 to 65535; default 1
  --u-threshold  -x NUMBER     no new connections from so many on; 0: no bound
  --l-threshold  -y NUMBER     new ones again below so many; 0: below 3/4 of -x
  --tun-type ipip|gue|gre      kind of tunnel
  --tun-port PORT              of gue
  --tun-nocsum, --tun-csum     checksum in the outer header of gue and gre, or none (default)
  --tun-remcsum                gue: the same as --tun-csum
  --client-address HOW         FULLNAT: how the server is told the client: toa, proxy-v2, none
  --toa-kind KIND              the number of TOA's TCP option; default 254

Options of a list:
  --numeric     -n    addresses and ports as numbers, nothing looked up
  --stats             connections, packets and bytes since the last -Z
  --rate              the same per second
  --exact       -X    numbers in full, not in K, M, G or T
  --thresholds        upper and lower thresholds
  --persistent-conn   templates of persistence per server
  --tun-info          kind, port and checksum of tunnels
  --nosort            services and servers in the daemon's own order
  --sort              sorted by address, which is the default
  --connection  -c    connections instead of services
  --timeout           timeouts (tcp tcpfin udp) instead of services
  --daemon            daemons of synchronization instead of services; there are none
  --json              for programs

Options of all:
  --control PATH      the daemon's socket; default $LVSD_CONTROL, else /run/lvsd/control.sock
"""
