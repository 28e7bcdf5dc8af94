#!/usr/bin/env bash
# Writes the lock files: the exact version and the SHA-256 of every file of every package that install.sh installs.
#
#     bash deploy/lock.sh     # after a change of deploy/requirements*.txt
#
# requirements.lock has all packages but TensorFlow, which tensorflow-cpu.lock and tensorflow-gpu.lock have with what it
# alone needs there; gdal.lock has one entry for each version of GDAL's binding, since the machine's GDAL decides;
# cuda.lock has the compiler that builds Horovod for GPUs.
set -euo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
uv=${UV:-$deploy/../.venv/bin/uv}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

resolve() {
    "$uv" --quiet pip compile --generate-hashes --universal --python-version 3.11 --no-header --no-annotate \
        --no-emit-index-url "$@"
}

# without name file: the entries of a lock file but those of packages of this name, a pattern; with: those alone
without() { awk -v name="^($1)==" '/^[^ ]/ { skip = $0 ~ name } !skip' "$2"; }
with() { awk -v name="^($1)==" '/^[^ ]/ { take = $0 ~ name } take' "$2"; }

others=("$deploy/requirements-dev.txt" "$deploy/requirements-build.txt")
sed 's/^tensorflow-cpu==/tensorflow[and-cuda]==/' "$deploy/requirements.txt" >"$work/gpu.txt"
resolve "$deploy/requirements.txt" "${others[@]}" -o "$work/cpu.lock" >/dev/null
resolve "$work/gpu.txt" "${others[@]}" -o "$work/gpu.lock" >/dev/null
without tensorflow-cpu "$work/cpu.lock" >"$work/requirements.lock"
with tensorflow-cpu "$work/cpu.lock" >"$work/tensorflow-cpu.lock"
with 'tensorflow|nvidia-.*' "$work/gpu.lock" | sed 's/^tensorflow==/tensorflow[and-cuda]==/' >"$work/tensorflow-gpu.lock"
diff <(without 'tensorflow|nvidia-.*' "$work/gpu.lock") "$work/requirements.lock" ||
    { echo "requirements.lock must not depend on the kind of TensorFlow; see the difference above" >&2; exit 1; }
resolve "$deploy/requirements-cuda.txt" -o "$work/cuda.lock" >/dev/null

versions=$("${PYTHON:-$deploy/../.venv/bin/python}" -m pip index versions gdal | sed -n 's/^Available versions: //p' | tr -d ',')
for version in $versions; do
    echo "gdal==$version" >"$work/gdal.in"
    resolve --no-deps --no-binary gdal "$work/gdal.in" -o "$work/gdal.one" >/dev/null
    cat "$work/gdal.one"
done >"$work/gdal.lock"

for name in requirements tensorflow-cpu tensorflow-gpu cuda gdal; do mv "$work/$name.lock" "$deploy/$name.lock"; done
wc -l "$deploy"/*.lock
