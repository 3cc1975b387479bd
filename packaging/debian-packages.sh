# To be sourced: install Debian packages as programs, with nothing of theirs running afterwards.
# shellcheck shell=sh

policy=/usr/sbin/policy-rc.d
state=""

# Print those of the packages that are not installed.
missing_packages() {
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^installed //p' | tr '\n' ' ')
    missing=""
    for package in "$@"; do
        case " $installed" in
            *" $package "*) ;;
            *) missing="$missing $package" ;;
        esac
    done
    echo "${missing# }"
}

# Install packages, as root. What is installed as a service is not started, neither now nor at the
# next boot; services that were here before stay as they are.
install_packages() {
    echo "installing Debian packages: $*"
    state=$(mktemp -d)
    trap put_back EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    boot_links >"$state/links"
    services >"$state/services"
    forbid_starts
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "$@" >/dev/null
    put_back
    trap - EXIT INT TERM HUP
}

# What starts something at boot: systemd's links, and those of the runlevels.
boot_links() {
    {
        find /etc/systemd/system -type l
        find /etc/rc[2-5S].d -name 'S*' -type l
    } 2>/dev/null | sort
}

services() {
    find /lib/systemd/system /usr/lib/systemd/system /etc/systemd/system /etc/init.d -maxdepth 1 \
        2>/dev/null | sed 's|.*/||; s|\.service$||' | sort -u
}

# Have invoke-rc.d and deb-systemd-invoke start nothing (policy-rc.d's status 101).
forbid_starts() {
    if [ -e "$policy" ] || [ -L "$policy" ]; then
        cp -a "$policy" "$state/policy"
        rm -f "$policy"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

put_back() {
    [ -n "$state" ] || return 0
    rm -f "$policy"
    if [ -e "$state/policy" ] || [ -L "$state/policy" ]; then
        cp -a "$state/policy" "$policy"
    fi
    boot_links | comm -13 "$state/links" - | while read -r link; do
        forget "$link"
    done
    rm -rf "$state"
    state=""
}

# Take away a link that starts something at boot, if what it starts came with the packages.
forget() {
    case $1 in
        /etc/rc?.d/*)
            name=$(basename "$(readlink "$1")")
            ! grep -qxF "$name" "$state/services" || return 0
            update-rc.d "$name" disable >/dev/null 2>&1 || true
            # What runs in rcS.d cannot be disabled.
            rm -f "$1"
            ;;
        *)
            name=$(basename "$1" .service)
            ! grep -qxF "$name" "$state/services" || return 0
            # What systemd itself needs, where it is installed only now.
            case $(dpkg-query -S "$(readlink "$1")" 2>/dev/null) in
                systemd* | udev:* | dbus*) return 0 ;;
            esac
            rm -f "$1"
            ;;
    esac
}
