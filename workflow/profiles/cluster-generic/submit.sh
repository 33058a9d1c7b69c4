#!/bin/sh
# Submit a job script and print the job's id: submit.sh RULE THREADS MEMORY_MB GPUS SCRIPT
set -eu
rule=$1 threads=$2 memory=$3 gpus=$4 script=$5
mkdir -p results/logs/cluster
set -- --parsable --job-name="dmgan-$rule" --cpus-per-task="$threads" --mem="$memory" --output=results/logs/cluster/%j.log
[ "$gpus" -eq 0 ] || set -- "$@" --gpus="$gpus"
exec sbatch "$@" "$script"
