"""Installing the Debian packages of `make venv` starts no service, and enables none at boot.

The script runs as it is, on files of this machine that a mount namespace keeps as they are; what
apt-get and dpkg-query say and do is made up.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OWN_FILES = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
for place in etc usr/sbin; do
    upper=$1/$place/upper work=$1/$place/work
    mkdir -p "$upper" "$work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$upper,workdir=$work" overlay "/$place"
done
cd /etc
rm -rf systemd rc?.d init.d
mkdir -p systemd/system/multi-user.target.wants rc3.d init.d
cd systemd/system
touch here-before.service asleep-before.service
ln -s /etc/systemd/system/here-before.service multi-user.target.wants/
printf '#!/bin/sh\\nexit 0\\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
export PATH="$2:$PATH"
"$3" || echo "status $?"
find /etc/systemd/system -type l -printf '%f\\n' | sort
find /etc/rc3.d -name 'S*' -printf '%f\\n' | sort
cat /usr/sbin/policy-rc.d
"""

APT_GET = """\
#!/bin/sh
[ "$2" = install ] || exit 0
/usr/sbin/policy-rc.d nginx start; echo "start: $?" >&2
cd /etc/systemd/system/multi-user.target.wants
ln -s /lib/systemd/system/came-along.service .
ln -s /lib/systemd/system/came-along.service ../alias-came-along.service
ln -s /lib/systemd/system/getty-of-systemd.service .
ln -s /etc/systemd/system/asleep-before.service .
touch /etc/init.d/came-along
ln -s ../init.d/came-along /etc/rc3.d/S01came-along
exit %d
"""

DPKG_QUERY = """\
#!/bin/sh
case "$1 $2" in
    -S*systemd.service) echo "systemd: $2" ;;
    -S*) echo "came-along: $2" ;;
esac
"""


@pytest.mark.parametrize("apt_ends_with", [0, 100])
def test_what_comes_along_is_not_started_nor_enabled_and_what_was_here_stays(
    tmp_path: Path, apt_ends_with: int
) -> None:
    programs, files = tmp_path / "programs", tmp_path / "files"
    files.mkdir()
    programs.mkdir()
    for name, text in (("apt-get", APT_GET % apt_ends_with), ("dpkg-query", DPKG_QUERY)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    script = ROOT / "packaging" / "install-debian-packages"

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", OWN_FILES, "sh", files, programs, script],
        capture_output=True,
        text=True,
        check=False,
    )

    said, *left = done.stdout.splitlines()
    assert said.startswith("installing Debian packages: gcc ")
    assert done.stderr == "start: 101\n"
    assert left == [
        *([f"status {apt_ends_with}"] if apt_ends_with else []),
        "asleep-before.service",
        "getty-of-systemd.service",
        "here-before.service",
        "#!/bin/sh",
        "exit 0",
    ]
