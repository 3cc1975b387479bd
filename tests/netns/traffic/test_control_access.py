"""Who may ask lvsd for what: it knows who is at the other end of its socket."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from lvsd.lab.wait import PATIENCE
from tests.netns.traffic.site import both, running

if TYPE_CHECKING:
    from lvsd.lab import Lab
    from tests.netns.traffic.site import Site

PORT, RPORT = 80, 8080

AS_NOBODY = """
import json, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
there.sendall(sys.argv[2].encode() + b"\\n")
print(there.makefile().readline())
"""


def as_nobody(site: Site, method: str) -> subprocess.CompletedProcess[str]:
    line = json.dumps({"method": method, "params": {"commands": []} if method == "change" else {}})
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(site.daemon.control), line],
        capture_output=True,
        text=True,
        check=False,
        timeout=20 * PATIENCE,
    )


def test_others_than_root_and_the_group_may_read_only_where_the_configuration_says_so(
    web_lab: Lab,
) -> None:
    text = both(web_lab, PORT, RPORT)
    with running(web_lab, text) as site:
        assert "PermissionError" in as_nobody(site, "timeouts").stderr
    with running(web_lab, 'control_readers = "all"', text) as site:
        for each in (site.daemon.control.parent, site.daemon.control.parent.parent):
            each.chmod(0o755)
        assert "result" in as_nobody(site, "timeouts").stdout
        refused = json.loads(as_nobody(site, "change").stdout)
        assert refused["error"]["code"] == "forbidden"
        assert json.loads(as_nobody(site, "zero").stdout)["error"]["code"] == "forbidden"
