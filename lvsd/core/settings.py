"""What the operator may set of the core, under the names and defaults of IPVS's own sysctls."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Settings:
    """Behaviour of the director as a whole.

    expire_nodest_conn         the connections and templates of a server that is removed end,
                               so many at a time, or with their next packet (else packets are
                               dropped and the entries kept)
    expire_quiescent_template  a template of persistence ends when its server's weight is 0
    conn_reuse_mode            bit 0: a SYN on a TIME_WAIT or CLOSE entry is scheduled anew;
                               bit 1: also on a FIN_WAIT one whose replies bypass the director
    sloppy_tcp                 any TCP packet but a RST may open a connection, not only a SYN
    sloppy_sctp                any SCTP packet but an ABORT may, not only an INIT
    max_connections            entries and templates together (`lvsd.core.admission`)
    """

    expire_nodest_conn: bool = False
    expire_quiescent_template: bool = False
    conn_reuse_mode: int = 1
    sloppy_tcp: bool = False
    sloppy_sctp: bool = False
    max_connections: int = 1_000_000
