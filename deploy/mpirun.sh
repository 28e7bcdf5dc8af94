#!/usr/bin/env bash
# Runs Open MPI's mpirun on several hosts, with deploy/settings/hosts.sh; ends with 75 if a host is lost.
#
#     bash deploy/mpirun.sh -n 72 --hostfile hosts python -m etl.extract --resume
#
# By itself mpirun ends with 205 when it loses a host. If data are under way to that host, or its processes are frozen,
# mpirun waits: its keepalive does not count then, and the kernel sends the data again for a quarter of an hour. So the
# ranks end by their watchdog, and this script ends mpirun once no rank is left beside it. Signals are passed on.
set -uo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/settings/hosts.sh
source "${SETTINGS:-$deploy/settings/hosts.sh}"

resumable=75
lost_daemon=205 # ORTE_ERR_COMM_FAILURE, -51, as a status
agents='ssh|rsh|srun|qrsh|blaunch|lsgrun|pbs_tmrsh'

exported=()
for name in PYTHONPATH HOROVOD_GLOO_IFACE NCCL_SOCKET_IFNAME; do
    if [ -n "${!name:-}" ]; then exported+=(-x "$name"); fi
done

mpirun "${exported[@]}" "$@" <&0 &
launcher=$!
for kind in USR1 TERM INT; do
    # shellcheck disable=SC2064
    trap "kill -$kind $launcher 2>/dev/null" "$kind"
done

has_ranks() { ps -o stat=,comm= --ppid "$launcher" | grep -v '^Z' | awk '{ print $2 }' | grep -qvxE "$agents"; }

started='' alone_s=0
while kill -0 "$launcher" 2>/dev/null; do
    sleep 1 &
    wait -n # for the second, or for mpirun
    if has_ranks; then
        started=1 alone_s=0
    elif [ -n "$started" ] && ((++alone_s > LOST_HOST_S)); then
        echo "error: no rank runs here any more, but mpirun has waited $LOST_HOST_S s for another host, which is lost" >&2
        pkill -TERM -P "$launcher"
        kill -KILL "$launcher"
        wait "$launcher" 2>/dev/null
        exit $resumable
    fi
done
wait "$launcher"
status=$?
if [ "$status" = $lost_daemon ]; then
    echo "error: mpirun has lost a host (status $lost_daemon); all ranks end, with status $resumable" >&2
    status=$resumable
fi
exit "$status"
