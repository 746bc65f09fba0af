#!/usr/bin/env bash
# bash tests/peers/setup.sh DIR [PIP OPTIONS for torch]: the peer libraries in environments under DIR, outside this tree.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:?usage: bash tests/peers/setup.sh DIR [PIP OPTIONS for torch]}
shift
mkdir -p "$target"
target=$(cd "$target" && pwd)
python3 -m venv "$target/env"
pip=("$target/env/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" "$@" -r "$here/requirements/torch.txt"
"${pip[@]}" --no-deps -r "$here/requirements/laplace-torch.txt" -r "$here/requirements/nngeometry.txt" \
    -r "$here/requirements/posteriors.txt"
for older in laplace-torch-0.2.2.2 laplace-torch-0.2.1 curvlinops-2.0.1 curvlinops-1.2.0 \
        backpack-1.1.1 backpack-1.1.0 backpack-1.0.1; do
    "${pip[@]}" --no-deps --upgrade --target "$target/$older" -r "$here/requirements/$older.txt"
done
"${pip[@]}" --editable "$here/../.."
# What laplace-torch's low rank needs, on no registry: without it that one finding is skipped.
[[ -d $target/asdfghjkl ]] || git clone --quiet --depth 1 --branch asdfghjkl https://github.com/wiseodd/asdl "$target/asdfghjkl" ||
    echo "asdfghjkl could not be cloned"
python3 -m venv "$target/jax"
pip=("$target/jax/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" -r "$here/requirements/jax.txt"
"${pip[@]}" --editable "$here/../.."
echo "ready: $target/env/bin/refbnn conform laplace-torch, $target/jax/bin/refbnn conform laplax"
