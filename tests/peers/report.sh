#!/usr/bin/env bash
# bash tests/peers/report.sh DIR [NAME...]: runs the peers of setup.sh's DIR and writes their terminal reports (or those named) into
# tests/peers/reports.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=$(cd "${1:?usage: bash tests/peers/report.sh DIR [NAME...]}" && pwd)
shift
wanted=" $* "

write() {  # write NAME ADAPTER VARIABLE=VALUE...
    local name=$1 adapter=$2 out="$here/reports/$1.txt"
    [[ $wanted == "  " || $wanted == *" $name "* ]] || return 0
    shift 2
    {
        printf '%s\n' "$(date -u +%Y-%m-%d)" "${@//$peers/DIR}" "refbnn conform $adapter"
        env "$@" "$peers/env/bin/python" -c "
from importlib import metadata
import platform
print('Python', platform.python_version())
for name in 'refbnn torch numpy laplace-torch curvlinops-for-pytorch backpack-for-pytorch asdl nngeometry'.split():
    print(name, metadata.version(name))"
        echo
        env "$@" "$peers/env/bin/refbnn" conform "$adapter" --color never
        echo "exit code $?"
    } > "$out" 2>&1
    echo "$out: $(tail -n 1 "$out")"
}

export OMP_NUM_THREADS=1
write torch torch
write laplace-torch-0.3 laplace-torch
write laplace-torch-0.3-float64 laplace-torch REFBNN_TORCH_DEFAULT_DTYPE=float64
write laplace-torch-0.2.2.2 laplace-torch PYTHONPATH="$peers/laplace-torch-0.2.2.2"
write laplace-torch-0.2.1 laplace-torch PYTHONPATH="$peers/laplace-torch-0.2.1"
write curvlinops-3.0.1 curvlinops
write curvlinops-2.0.1 curvlinops PYTHONPATH="$peers/curvlinops-2.0.1"
write curvlinops-1.2.0 curvlinops PYTHONPATH="$peers/curvlinops-1.2.0"
write laplace-torch-0.2.1-float64 laplace-torch PYTHONPATH="$peers/laplace-torch-0.2.1" REFBNN_TORCH_DEFAULT_DTYPE=float64
write backpack-1.7.1 backpack
write backpack-1.7.1-sum backpack REFBNN_BACKPACK_REDUCTION=sum
write backpack-1.7.1-float64 backpack REFBNN_TORCH_DEFAULT_DTYPE=float64
write backpack-1.1.1 backpack PYTHONPATH="$peers/backpack-1.1.1"
write backpack-1.1.0 backpack PYTHONPATH="$peers/backpack-1.1.0"
write backpack-1.1.0-float64 backpack PYTHONPATH="$peers/backpack-1.1.0" REFBNN_TORCH_DEFAULT_DTYPE=float64
write backpack-1.0.1 backpack PYTHONPATH="$peers/backpack-1.0.1"
write asdl-0.1.5 asdl
write nngeometry-0.4 nngeometry
write nngeometry-0.4-float64 nngeometry REFBNN_TORCH_DEFAULT_DTYPE=float64
