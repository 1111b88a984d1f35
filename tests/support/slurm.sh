#!/bin/sh
# A Slurm with one node, this machine, for tests: needs root, Debian's slurm-wlm and munge, and neither cgroups nor a database.
#
#   slurm.sh start FOLDER     then SLURM_CONF=FOLDER/slurm.conf is the environment of sbatch, squeue and so on
#   slurm.sh stop FOLDER
set -eu
folder=$2
export SLURM_CONF="$folder/slurm.conf"

stop() {
    for daemon in slurmctld slurmd; do
        if [ -s "$folder/$daemon.pid" ]; then kill "$(cat "$folder/$daemon.pid")" 2>/dev/null || true; fi
    done
}

authenticate() { # munge's key is the machine's; its daemon may run already
    if munge -n >/dev/null 2>&1; then return; fi
    mkdir -p /run/munge && chown munge: /run/munge
    if [ ! -s /etc/munge/munge.key ]; then
        head -c 1024 /dev/urandom >/etc/munge/munge.key
        chown munge: /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
    fi
    setpriv --reuid munge --regid munge --clear-groups munged
}

configure() {
    name=$(hostname -s)
    memory=$(awk '/MemTotal/ { print int($2 / 1024) - 1000 }' /proc/meminfo)
    cat >"$SLURM_CONF" <<CONF
ClusterName=calogen
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$((20000 + $$ % 10000))
SlurmdPort=$((30000 + $$ % 10000))
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MailProg=/bin/true
KillWait=30
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

if [ "$1" = stop ]; then
    stop
    exit 0
fi
mkdir -p "$folder/state" "$folder/spool"
authenticate
configure
slurmctld
slurmd
for _ in $(seq 60); do
    if sinfo --noheader --format=%t 2>/dev/null | grep -q idle; then exit 0; fi
    sleep 0.5
done
echo "no node is idle after 30 seconds: see $folder/slurmctld.log" >&2
stop
exit 1
