#!/bin/sh
# Run the tests of transports, storage and projections on the newest releases that Debian has: Python, PostgreSQL, RabbitMQ with
# every deprecated feature denied, Redis, Valkey, Java.
#
#   scripts/newer.sh ROOT                      the tests below, and those of Redis once more on Valkey (half an hour)
#   scripts/newer.sh ROOT PYTEST-ARGUMENTS...  other ones; SERVER=valkey-server is run in place of Redis
#
# ROOT is a folder for a Debian sid, which debootstrap makes there at the first call (some minutes, 2 GB). It gets a clone of the
# commits here, an environment of its own, and .servers of this checkout. Run it as root. DEBIAN_MIRROR names another mirror.
# The last lines say the releases, the counts, the failures, and `all passed` or `SOME FAILED`, with an exit code.
set -eu
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
here=$(cd "$(dirname "$0")/.." && pwd)
if [ ! -e "$root/usr/bin/apt-get" ]; then
    command -v debootstrap >/dev/null || { echo "debootstrap is not on this machine (Debian: apt-get install debootstrap)" >&2; exit 1; }
    debootstrap --variant=minbase --include=ca-certificates sid "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
fi
for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ ! -e "$file" ] || cp --dereference "$file" "$root$file"
done
echo "127.0.0.1 localhost" >"$root/etc/hosts"
mkdir -p "$root/srv/servers" "$root/dev/shm" "$here/.servers"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev/shm" || mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mountpoint -q "$root/srv/servers" || mount --bind "$here/.servers" "$root/srv/servers"
trap 'umount "$root/srv/servers" "$root/dev/shm" "$root/proc"' EXIT
settings=$(env | grep -E '^(PIP_[A-Z_]+|[a-z]+_proxy|[A-Z]+_PROXY)=' | grep -v -E '^PIP_(CERT|FIND_LINKS)=' || true)
rm -rf "$root/srv/eventkit"
git clone --quiet "$here" "$root/srv/eventkit"
inside() {
    # shellcheck disable=SC2086 # one word each
    chroot "$root" env -i --chdir=/srv/eventkit HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive EVENTKIT_TEST_SERVERS_CACHE=/srv/servers $settings "$@"
}
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # packages start no servers
chmod +x "$root/usr/sbin/policy-rc.d"
if [ ! -e "$root/usr/bin/valkey-server" ] || [ ! -e "$root/usr/bin/java" ]; then
    inside apt-get update -qq -o Acquire::Check-Valid-Until=false
    inside apt-get install -o Acquire::Check-Valid-Until=false -qq --yes --no-install-recommends python3 python3-venv make git procps \
        postgresql rabbitmq-server redis-server valkey-server pgbouncer default-jre-headless >/dev/null
fi
if ! cmp -s "$here/pyproject.toml" "$root/srv/venv/pyproject.toml"; then
    inside python3 -m venv /srv/venv
    inside /srv/venv/bin/pip install -q --disable-pip-version-check --editable '.[dev]'
    cp "$here/pyproject.toml" "$root/srv/venv/"
fi
output=$root/srv/output
failed=0
tests() { # NAME PYTEST-ARGUMENTS...: run them with that server in place of Redis, and keep the last lines for the summary
    server=$1
    shift
    echo "=== on $server: $*"
    inside EVENTKIT_TEST_REDIS="$server" /srv/venv/bin/python -m pytest -q -rfEs -p no:cacheprovider "$@" 2>&1 | tee "$output" || true
    # pytest's last line counts the tests; without it, or with another word than these, the run has failed
    last=$(tail -n 1 "$output")
    counted=$(echo "$last" | grep -E '^[0-9]+ passed' | grep -v -E 'failed|error' || true)
    [ -n "$counted" ] || failed=1
    {
        echo "on $server: $last"
        grep -E '^(FAILED|ERROR) ' "$output" || true
    } >>"$output.summary"
}
releases() {
    # shellcheck disable=SC2016 # the shell inside expands it
    inside sh -c '
        /srv/venv/bin/python --version
        /usr/lib/postgresql/*/bin/postgres --version
        echo "RabbitMQ $(dpkg-query -W -f "\${Version}" rabbitmq-server)"
        echo "Redis $(redis-server --version | sed "s/.*v=\([^ ]*\).*/\1/")"
        echo "Valkey $(valkey-server --version | sed "s/.*v=\([^ ]*\).*/\1/")"
        java -version 2>&1 | head -n 1'
}
: >"$output.summary"
if [ $# -gt 0 ]; then
    tests "${SERVER:-redis-server}" "$@"
else
    tests redis-server tests/domain tests/aggregates tests/storage tests/transports tests/projection/define tests/surroundings \
        tests/messaging/test_patterns_on_brokers.py tests/faults/test_brokers.py
    tests valkey-server tests/transports tests/messaging/test_patterns_on_brokers.py tests/faults/test_brokers.py -k redis
fi
echo
echo "=== summary, with the releases that were tested"
releases
cat "$output.summary"
if [ "$failed" = 0 ]; then echo "all passed"; else echo "SOME FAILED"; fi
exit "$failed"
