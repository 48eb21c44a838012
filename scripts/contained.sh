#!/bin/sh
# Run a command as a container of deploy/Dockerfile runs it, on a machine without a container engine: as process 1 of a
# PID namespace, as user 10001 without capabilities, on a read-only root filesystem with an empty /tmp.
#
#   scripts/contained.sh ROOT COMMAND...
#
# ROOT is a root filesystem: one that scripts/image.py has built, or / itself. It starts in /srv/shop. CHECKOUT=folder
# mounts a folder at /tmp/checkout and starts there; HOMES=folder mounts one below /root, which only root can enter.
# Needs root.
set -eu
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
exec unshare --mount --pid --fork --kill-child sh -euc '
    root=$1
    shift
    mount --make-rprivate /
    mount --rbind "$root" /mnt
    mount -o remount,bind,ro /mnt
    mount -t tmpfs -o mode=1777 tmpfs /mnt/tmp
    mount --rbind /dev /mnt/dev
    mount -t proc proc /mnt/proc
    start=/srv/shop
    if [ -n "${HOMES:-}" ]; then
        mount -t tmpfs -o mode=755 tmpfs /mnt/root
        mkdir -p "/mnt$HOMES"
        mount --bind "$HOMES" "/mnt$HOMES"
        mount -o remount,bind,ro "/mnt$HOMES"
    fi
    if [ -n "${CHECKOUT:-}" ]; then
        start=/tmp/checkout
        mkdir -m 755 "/mnt$start"
        mount --bind "$CHECKOUT" "/mnt$start"
        mount -o remount,bind,ro "/mnt$start"
    fi
    exec chroot /mnt setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
        --inh-caps=-all --bounding-set=-all env --chdir="$start" HOME=/nonexistent TMPDIR=/tmp "$@"
' sh "$@"
