#!/usr/bin/env bash
# bash tests/peers/report.sh DIR [NAME...]: runs this tree's kit on the peers of setup.sh's DIR, writes their terminal reports into
# tests/peers/reports and, from the report files that it leaves in DIR/reports, tests/peers/matrix.{md,html,jsonl}. Without names it
# takes up where it was stopped: a report that is younger than the kit stays. Two of them may run side by side, on different names.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=$(cd "${1:?usage: bash tests/peers/report.sh DIR [NAME...]}" && pwd)
shift
wanted=" $* "
cd "$here/../.."  # what is run is the package of this tree, whatever the environments hold

due() {  # due NAME: whether it is named, or nothing is and its report is older than the kit
    [[ $wanted == *" $1 "* ]] && return
    [[ $wanted == "  " ]] && { [[ ! -s $peers/reports/$1.jsonl ]] ||
        find refbnn/conform \( -name '*.py' -o -name '*.json' \) -newer "$peers/reports/$1.jsonl" | grep -q .; }
}

write() {  # write NAME ADAPTER VARIABLE=VALUE...
    local name=$1 adapter=$2 out="$here/reports/$1.txt" home=env
    all+=("$peers/reports/$name.jsonl")
    case $adapter in jax | autograd | laplax | numpyro | blackjax) home=jax ;; esac
    due "$name" || return 0
    shift 2
    : > "$out"  # then appended to: whoever else touches it leaves no hole of zero bytes
    {
        printf '%s\n' "$(date -u +%Y-%m-%d)" "${@//$peers/DIR}" "refbnn conform $adapter"
        env "$@" "$peers/$home/bin/python" -c "
from importlib import metadata
import platform
print('Python', platform.python_version())
installed = {found.metadata['Name']: found.version for found in reversed(list(metadata.distributions()))}
for name in ('refbnn numpy torch laplace-torch curvlinops-for-pytorch backpack-for-pytorch asdl nngeometry posteriors '
             'jax autograd laplax numpyro blackjax').split():
    print(name, installed[name]) if name in installed else None"
        echo
        env "$@" "$peers/$home/bin/python" -m refbnn conform "$adapter" --color never --timeout 900 \
            --report "$peers/reports/$name.jsonl"
        echo "exit code $?"
    } >> "$out" 2>&1
    echo "$out: $(tail -n 1 "$out")"
}

mkdir -p "$peers/reports"
export OMP_NUM_THREADS=1
all=()
write laplace-torch-0.3 laplace-torch
write curvlinops-3.0.1 curvlinops
write backpack-1.7.1 backpack
write asdl-0.1.5 asdl
write nngeometry-0.4 nngeometry
write torch-2.13.0 torch
write posteriors-0.1.3 posteriors
write jax-0.10.2 jax JAX_DISABLE_MOST_OPTIMIZATIONS=true  # compiling takes most of the time
write autograd-1.9.1 autograd
write laplax-0.0.2 laplax JAX_DISABLE_MOST_OPTIMIZATIONS=true
write numpyro-0.22.0 numpyro
write blackjax-1.7.1 blackjax
write jax-0.10.2-float32 jax REFBNN_JAX_PRECISION=float32 JAX_DISABLE_MOST_OPTIMIZATIONS=true
write laplace-torch-0.3-float64 laplace-torch REFBNN_TORCH_DEFAULT_DTYPE=float64
write laplace-torch-0.2.2.2 laplace-torch PYTHONPATH="$peers/laplace-torch-0.2.2.2"
write laplace-torch-0.2.1 laplace-torch PYTHONPATH="$peers/laplace-torch-0.2.1"
write laplace-torch-0.2.1-float64 laplace-torch PYTHONPATH="$peers/laplace-torch-0.2.1" REFBNN_TORCH_DEFAULT_DTYPE=float64
write curvlinops-2.0.1 curvlinops PYTHONPATH="$peers/curvlinops-2.0.1"
write curvlinops-1.2.0 curvlinops PYTHONPATH="$peers/curvlinops-1.2.0"
write backpack-1.7.1-sum backpack REFBNN_BACKPACK_REDUCTION=sum
write backpack-1.7.1-float64 backpack REFBNN_TORCH_DEFAULT_DTYPE=float64
write backpack-1.1.1 backpack PYTHONPATH="$peers/backpack-1.1.1"
write backpack-1.1.0 backpack PYTHONPATH="$peers/backpack-1.1.0"
write backpack-1.1.0-float64 backpack PYTHONPATH="$peers/backpack-1.1.0" REFBNN_TORCH_DEFAULT_DTYPE=float64
write backpack-1.0.1 backpack PYTHONPATH="$peers/backpack-1.0.1"
write nngeometry-0.4-float64 nngeometry REFBNN_TORCH_DEFAULT_DTYPE=float64
write posteriors-0.1.3-float64 posteriors REFBNN_TORCH_DEFAULT_DTYPE=float64
made=()
for report in "${all[@]}"; do [[ ! -s $report ]] || made+=("$report"); done
"$peers/env/bin/python" -m refbnn matrix "${made[@]}" --report "$here/matrix.md" --report "$here/matrix.html" > /dev/null
"$peers/env/bin/python" -m tests.peers.matrix_data "${made[@]}" > "$here/matrix.jsonl"
