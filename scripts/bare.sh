#!/bin/sh
# Run both commands of the README on a bare Debian 12, as a user without rights: python3, python3-venv, make and git, and no server.
#
#   scripts/bare.sh ROOT [COMMAND...]      COMMAND in place of `make demo && make test`
#
# ROOT is a folder for that system, which debootstrap makes there at the first call (a minute, 400 MB). It gets a clean clone
# of what is committed here. Run it as root. DEBIAN_MIRROR names another mirror; PIP_* and the certificates of this machine count there, too.
set -eu
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- sh -ec 'make demo; make test'
if [ ! -e "$root/usr/bin/make" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is not on this machine (Debian: apt-get install debootstrap)" >&2; exit 1; }
    debootstrap --variant=minbase --include=python3,python3-venv,make,git,ca-certificates bookworm "$root" \
        "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
fi
chroot "$root" id bare >/dev/null 2>&1 || chroot "$root" useradd --create-home --shell /bin/sh bare
echo "127.0.0.1 localhost" >"$root/etc/hosts"
for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ ! -e "$file" ] || cp --dereference "$file" "$root$file"
done
rm -rf "$root/home/bare/eventkit"
git clone --quiet "$here" "$root/home/bare/eventkit"
chroot "$root" chown -R bare:bare /home/bare/eventkit
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev/shm" || { mkdir -p "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"; }
mountpoint -q "$root/dev/pts" || mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
[ -L "$root/dev/ptmx" ] || ln -sf pts/ptmx "$root/dev/ptmx"
trap 'umount "$root/dev/pts" "$root/dev/shm" "$root/proc"' EXIT
settings=$(env | grep -E '^(PIP_[A-Z_]+|[a-z]+_proxy|[A-Z]+_PROXY)=' | grep -v -E '^PIP_(CERT|FIND_LINKS)=' || true)
# shellcheck disable=SC2086 # one word each
chroot --userspec=bare "$root" env -i --chdir=/home/bare/eventkit HOME=/home/bare USER=bare LANG=C.UTF-8 \
    PATH=/usr/local/bin:/usr/bin:/bin $settings "$@"
