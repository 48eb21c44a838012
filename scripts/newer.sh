#!/bin/sh
# Run the RabbitMQ tests on the release of Debian sid, with every deprecated feature denied.
#
#   scripts/newer.sh ROOT [PYTEST ARGUMENTS]
#
# ROOT is a folder for a system of its own, which debootstrap makes there at the first call (a minute, 600 MB). Run it as root: the
# server is started by chroot. DEBIAN_MIRROR names another mirror than deb.debian.org.
set -eu
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
if [ ! -e "$root/usr/lib/rabbitmq" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is not on this machine (Debian: apt-get install debootstrap)" >&2; exit 1; }
    debootstrap --variant=minbase --include=rabbitmq-server sid "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
fi
echo "127.0.0.1 localhost" >"$root/etc/hosts"
mountpoint -q "$root/proc" || { mount -t proc proc "$root/proc"; trap 'umount "$root/proc"' EXIT; }
# the certificates of the tests with TLS lie outside the root
[ $# -gt 0 ] || set -- --ignore tests/transports/test_secured.py tests/transports tests/messaging/test_patterns_on_brokers.py tests/projection/run/test_joining.py tests/faults/test_brokers.py -k rabbit
EVENTKIT_TEST_RABBITMQ=$root EVENTKIT_REQUIRE_SERVERS=1 "${PYTHON:-.venv/bin/python}" -m pytest "$@"
