#!/bin/bash
# Run a command on a one-node SLURM cluster with two fake GPUs: with_cluster.sh COMMAND ...
#
# Everything lies in a temporary folder, the daemons listen on 127.0.0.1 only, and all of them are stopped when the
# command ends or this script is interrupted. The fake GPUs are /dev/null and /dev/zero: SLURM counts them, assigns them
# and sets CUDA_VISIBLE_DEVICES, and jobs compute on the CPU. The node claims the CPUs of this machine.
set -euo pipefail

missing=""
for program in slurmctld slurmd sbatch srun squeue sinfo munged; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "$program" > /dev/null || missing+=" $program"
done
if [ -n "$missing" ]; then
    echo "test-slurm: not installed:$missing; apt-get install --no-install-recommends slurm-wlm munge" >&2
    exit 1
fi
export PATH="$PATH:/usr/sbin:/sbin"

folder=$(mktemp -d /tmp/dmgan-slurm-XXXXXX)  # munge refuses folders that others may write, TMPDIR may be one
node=$(hostname -s)
user=$(id -un)
cpus=$(getconf _NPROCESSORS_ONLN)  # nproc obeys OMP_NUM_THREADS
[ "$cpus" -ge 2 ] || cpus=2  # two jobs at once
read -r controller_port node_port < <(python - <<'PORTS'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in sockets))
PORTS
)

command=""
stop() {
    trap - EXIT
    set +e
    [ -n "$command" ] && kill -- "-$command" 2> /dev/null
    if [ -s "$folder/run/slurmctld.pid" ]; then
        scancel --user="$user" --quiet
        for _ in $(seq 60); do [ -z "$(squeue --noheader)" ] && break; sleep 0.25; done
    fi
    for daemon in slurmd slurmctld munged; do
        [ -s "$folder/run/$daemon.pid" ] || continue
        pid=$(cat "$folder/run/$daemon.pid")
        kill "$pid" 2> /dev/null
        for _ in $(seq 60); do kill -0 "$pid" 2> /dev/null || break; sleep 0.25; done
        kill -9 "$pid" 2> /dev/null
    done
    [ -n "${DMGAN_KEEP_SLURM:-}" ] && echo "test-slurm: $folder is kept" || rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

chmod 755 "$folder"
mkdir "$folder"/{etc,state,spool,log,run,bin}
dd if=/dev/urandom of="$folder/etc/munge.key" bs=128 count=1 status=none
chmod 400 "$folder/etc/munge.key"
cat > "$folder/etc/slurm.conf" <<CONF
ClusterName=dmgan-test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=$controller_port
SlurmdPort=$node_port
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MpiDefault=none
DefMemPerCPU=500
ReturnToService=2
MinJobAge=86400
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus CoresPerSocket=$cpus ThreadsPerCore=1 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=gpu Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
printf 'NodeName=%s Name=gpu File=/dev/null\nNodeName=%s Name=gpu File=/dev/zero\n' "$node" "$node" > "$folder/etc/gres.conf"

# Snakemake's plugin removes all variables SLURM_* before it calls SLURM, so every client command sets its own.
for client in sbatch srun squeue scancel sinfo scontrol sacct sacctmgr sstat salloc; do
    real=$(command -v "$client") || continue
    printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$folder/etc/slurm.conf" "$real" > "$folder/bin/$client"
    chmod 755 "$folder/bin/$client"
done
export PATH="$folder/bin:$PATH"

munged --key-file="$folder/etc/munge.key" --socket="$folder/run/munge.socket" --pid-file="$folder/run/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/state/munge.seed" --num-threads=2
SLURM_CONF="$folder/etc/slurm.conf" slurmctld -i
SLURM_CONF="$folder/etc/slurm.conf" slurmd
for _ in $(seq 120); do [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ] && break; sleep 0.25; done
if [ "$(sinfo --noheader --format %T 2> /dev/null)" != idle ]; then
    echo "test-slurm: the node does not start:" >&2
    tail -n 5 "$folder"/log/*.log >&2
    exit 1
fi

# In a process group of its own, so that an interrupt ends all of it; bash runs a trap only while it waits.
DMGAN_SLURM_FOLDER="$folder" setsid "$@" &
command=$!
status=0
wait "$command" || status=$?
command=""
exit "$status"
