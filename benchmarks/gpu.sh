#!/bin/bash
# Run the tests and benchmarks of a GPU, each with a time limit, in some ten minutes: benchmarks/gpu.sh [FOLDER]
# FOLDER (default results/gpu) gets what each of them prints, and the results of the benchmarks as soon as they are there.
# Needs the packages of `pip install .` and pytest; no step needs Snakemake, MLflow or a download. A step that fails or takes
# too long does not stop the next one.
set -u
out=${1:-results/gpu}
mkdir -p "$out"

step() {  # step NAME SECONDS COMMAND ...
    local name=$1 seconds=$2
    shift 2
    echo "== $name (at most $seconds s): $*"
    timeout "$seconds" "$@" > "$out/$name.txt" 2>&1
    echo "== $name: status $?"
    tail -n 15 "$out/$name.txt"
    cp -f benchmarks/results/*-cuda* "$out/" 2> /dev/null
}

nvidia-smi > "$out/nvidia-smi.txt" 2>&1
step tests-training 240 python -m pytest -q -p no:cacheprovider tests/training/test_cuda.py
step training 90 python -m benchmarks.training --device cuda --seconds 80
step sampling 70 python -m benchmarks.sampling --device cuda
step evaluation 70 python -m benchmarks.evaluation --device cuda
step tests-images 120 python -m pytest -q -p no:cacheprovider tests/sampling/test_cuda.py tests/evaluation/test_cuda.py
step profile 60 python -m benchmarks.training --device cuda --profile
step training-all 150 python -m benchmarks.training --device cuda --all --seconds 140
