#!/usr/bin/env bash
# Installs the project and all that it needs: system packages, compiled wheels, pinned packages, the project itself.
#
#     bash deploy/install.sh              # makes or completes .venv; does nothing when nothing has changed
#
# Settings are environment variables, with their defaults in brackets:
#     PYTHON      interpreter to start from, 3.11 or newer (python3)
#     VENV        folder of the environment (.venv beside this project's setup.cfg)
#     HDF5_DIR    folder of a parallel HDF5, if it is neither the one of h5pcc on PATH nor Debian's package
#     GPU         1: TensorFlow with CUDA; 0: without CUDA (1 if the machine has nvidia-smi; a login node may have none)
#     HOROVOD_*   passed on to Horovod's build. HOROVOD_GPU_OPERATIONS=NCCL, together with GPU=1, builds it for GPUs:
#                 with nvcc of HOROVOD_CUDA_HOME or PATH, else with CUDA 13's from PyPI; and with the NCCL of
#                 HOROVOD_NCCL_HOME, else with the one that TensorFlow brings
#     ONLY_NEEDS  1: all but the project itself, as for the lower layers of a container image (0)
# The script uses MPI, HDF5 and GDAL that are on PATH, as from a cluster's modules, and installs missing ones with apt.
# Without root rights it prints what is missing, and stops before it builds anything.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$project/.venv}
deploy=$project/deploy
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sentinel-etl
horovod_patch=$deploy/patches/horovod-0.28.1-tensorflow-2.21.patch
wheels=$cache/wheels
logs=$cache/logs

say() { printf '[install] %s\n' "$*"; }

fail() {
    printf '[install] FAILED: %s\n' "$@" >&2
    exit 1
}

has() {
    local tool
    for tool in "$@"; do command -v "$tool" >/dev/null || return 1; done
}

hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-16; }

# entries of a lock file, exact versions with the SHA-256 of their files, of the packages whose name fits a pattern
locked() { awk -v name="^($1)(\\[.*\\])?==" '/^[^ ]/ { take = $0 ~ name } take' "$2"; }

pinned() { locked "$1" "$deploy/requirements.lock" | sed -n 's/^[^=]*==\([^ ;]*\).*/\1/p'; }

# run "what it is" function arguments... : prints one line with the seconds, and the function's output only if it fails
run() {
    local what=$1 log=$logs/${1//[^A-Za-z0-9._-]/_}.log status start=$SECONDS
    shift
    set +e
    (set -e && "$@") >"$log" 2>&1
    status=$?
    set -e
    if [ "$status" -lt 128 ]; then rm -f "$venv/.interrupted"; fi
    if [ "$status" != 0 ]; then
        tail -n 40 "$log" >&2
        fail "$what, after $((SECONDS - start)) s; the whole output is in $log"
    fi
    say "$what: $((SECONDS - start)) s"
}

# run_once "inputs" "what it is" function arguments... : as run, unless the step has succeeded with the same inputs
run_once() {
    local inputs stamp=$venv/.steps/$3
    inputs=$(hash_of "$1" "$(declare -f "$3")")
    shift
    if [ -f "$stamp" ] && [ "$(<"$stamp")" = "$inputs" ]; then return; fi
    # After a kill, pip may take a half-installed package for installed; this file makes the next run start anew.
    mkdir -p "$venv/.steps"
    touch "$venv/.interrupted"
    run "$@"
    printf '%s\n' "$inputs" >"$stamp"
}

# ---- what the machine must have --------------------------------------------------------------------------------

python_is() { "$python" -c "$1" >/dev/null 2>&1; }
has_python() {
    has "$python" || return 1
    python_is 'import ensurepip, venv' || return 1
    python_is 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
}
has_compiler() { has cc c++ make; }
has_build_helpers() { has cmake pkg-config git patch; }
has_certificates() { [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -e /etc/pki/tls/certs/ca-bundle.crt ]; }
has_mpi() { has mpicc mpirun; }
has_hdf5() { [ -n "$(hdf5_dir)" ]; }
has_gdal() { has gdal-config gdalinfo && [ -e "$(gdal_include)/gdal.h" ]; }
has_viewers() { has h5dump ncdump; }
has_hosts() { PATH=$PATH:/usr/sbin:/sbin has sshd ip iptables ps; }
has_mpich() { has mpiexec.hydra mpicc.mpich && mpicc.mpich -x c -o /dev/null - <<<'int main(void) { return 0; }' 2>/dev/null; }
has_slurm() { has sbatch && PATH=$PATH:/usr/sbin has slurmctld slurmd munged; }

gdal_include() { gdal-config --cflags | tr ' ' '\n' | sed -n 's/^-I//p' | head -n 1; }

# Debian's name of the MPI that is on PATH.
mpi_flavour() { case $(mpi_version) in HYDRA*) echo mpich ;; *) echo openmpi ;; esac }

# Folder of a parallel HDF5 with include/ and lib/: the user's, then the compiler wrapper's, then Debian's for this MPI.
hdf5_dir() {
    local dir
    for dir in "${HDF5_DIR:-}" "$(dirname "$(dirname "$(command -v h5pcc)")")" /usr/lib/*/hdf5/"$(mpi_flavour)"; do
        if grep -qs 'H5_HAVE_PARALLEL 1' "$dir/include/H5pubconf.h"; then
            printf '%s\n' "$dir"
            return
        fi
    done
}

# One line for each need: test | what is needed | Debian packages
needs() {
    local python_debs=python3
    case $python in python3.*) python_debs=$python ;; esac
    cat <<TABLE
has_python|Python 3.11 or newer with venv and headers (or PYTHON=...)|$python_debs $python_debs-venv $python_debs-dev
has_compiler|a C and C++ compiler and make|build-essential
has_build_helpers|cmake, pkg-config, git and patch|cmake pkg-config git patch
has_mpi|MPI: mpicc and mpirun (a cluster: module load openmpi)|openmpi-bin libopenmpi-dev
has_hdf5|parallel HDF5 (a cluster: module load hdf5, or HDF5_DIR=...)|libhdf5-$(mpi_flavour)-dev
has_gdal|GDAL with headers: gdal-config and gdalinfo (a cluster: module load gdal)|gdal-bin libgdal-dev
TABLE
    # Useful, but not required: without root rights the script goes on without them.
    if [ -n "$root" ]; then
        echo 'has_certificates|certificates for downloads|ca-certificates'
        echo 'has_viewers|h5dump and ncdump, to look into stores|hdf5-tools netcdf-bin'
        echo 'has_hosts|sshd, ip and iptables, for tests on several hosts|openssh-server iproute2 iptables procps'
        echo 'has_mpich|MPICH beside the MPI in use, for tests|mpich libmpich-dev'
        echo 'has_slurm|a Slurm, for tests and make demo-slurm|slurmctld slurmd slurm-client munge'
    fi
}

# Command that runs apt as root: "env" as root, "sudo -n env" if sudo asks for no password, empty if neither.
way_to_root() {
    has apt-get dpkg-query || return 0
    if [ "$(id -u)" = 0 ]; then
        echo env
    elif has sudo && sudo -n true 2>/dev/null; then
        echo sudo -n env
    fi
}

apt_packages() {
    # shellcheck disable=SC2086  # $root is a command of several words
    $root DEBIAN_FRONTEND=noninteractive apt-get update
    # shellcheck disable=SC2086
    $root DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends "$@"
}

missing_debs() {
    local deb
    for deb in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$deb" 2>/dev/null | grep -qx installed || echo "$deb"
    done
}

check_system() {
    local test what debs gaps='' wanted=''
    while IFS='|' read -r test what debs; do
        if "$test"; then continue; fi
        gaps+="  $what"$'\n'
        wanted+=" $debs"
    done < <(needs)
    if [ -z "$gaps" ]; then return; fi
    # shellcheck disable=SC2086  # package names are words
    if [ -z "$root" ]; then
        fail "missing here, and no root rights to install it:"$'\n'"$gaps"$'[install] install it by:\n'"  sudo apt-get install --no-install-recommends$wanted"
    fi
    # shellcheck disable=SC2086
    wanted=$(missing_debs $wanted)
    # shellcheck disable=SC2086
    if [ -n "$wanted" ]; then run "system packages ($(wc -w <<<"$wanted"))" apt_packages $wanted; fi
    hash -r
    while IFS='|' read -r test what debs; do
        "$test" || fail "still missing although apt has installed $debs: $what"
    done < <(needs)
}

check_python() {
    python_is 'import sys; assert sys.version_info >= (3, 11)' ||
        fail "Python 3.11 or newer is needed, $(command -v "$python") is $("$python" -V 2>&1); name another: PYTHON=python3.11 bash deploy/install.sh"
}

# ---- what is compiled here, once for each set of versions ------------------------------------------------------

mpi_version() { mpirun --version 2>&1 | grep -oE '(Open MPI|HYDRA|Intel)|[0-9]+\.[0-9.]+' | tr -d ' ' | head -n 2 | paste -sd '' -; }
hdf5_version() { sed -n 's/^#define H5_PACKAGE_VERSION "\(.*\)"/\1/p' "$(hdf5_dir)/include/H5pubconf.h"; }
python_tag() { "$python" -c 'import sys; print(sys.implementation.cache_tag)'; }

kept_wheel() { compgen -G "$wheels/$1/*.whl" | head -n 1; }

# keep_wheel key builder: calls the builder to write a wheel into a folder; an interrupted build leaves no files
keep_wheel() {
    local key=$1 building
    building=$(mktemp -d "$wheels/.building.XXXXXX")
    # shellcheck disable=SC2064  # the folder of this build
    trap "rm -rf '$building'" EXIT
    "$2" "$building/wheel"
    rm -rf "${wheels:?}/$key"
    mv -T "$building/wheel" "$wheels/$key"
}

# Build isolation would compile mpi4py and numpy again. pip's cache does not distinguish versions of MPI and HDF5.
pip_wheel() {
    "$venv/bin/python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir --no-binary :all: --wheel-dir "$@"
}

# wheel_of name file folder: builds the wheel of a package from the source archive whose hash a lock file has
wheel_of() {
    locked "$1" "$2" >"$3.lock"
    pip_wheel "$3" --require-hashes -r "$3.lock"
}

# Debian keeps the headers of numpy 1 beside Python.h, where compilers find them first. Packages compiled with these
# cannot be imported.
numpy_first() {
    local include
    include=-I$("$venv/bin/python" -c 'import numpy; print(numpy.get_include())')
    CFLAGS="$include ${CFLAGS:-}" CXXFLAGS="$include ${CXXFLAGS:-}" "$@"
}

build_h5py() { CC=mpicc HDF5_MPI=ON HDF5_DIR=$(hdf5_dir) numpy_first wheel_of h5py "$deploy/requirements.lock" "$1"; }

# The binding must have the version of the machine's GDAL, of which PyPI leaves out a last .0.
build_gdal() {
    local version
    version=$(gdal-config --version)
    awk -v a="gdal==$version" -v b="gdal==${version%.0}" '/^[^ ]/ { take = $1 == a || $1 == b } take' \
        "$deploy/gdal.lock" >"$1.lock"
    if [ ! -s "$1.lock" ]; then
        echo "deploy/gdal.lock has no hash for GDAL $version; bash deploy/lock.sh adds those of all versions on PyPI"
        return 1
    fi
    numpy_first pip_wheel "$1" --require-hashes -r "$1.lock"
}

# Exports what Horovod's build for GPUs reads, of which it may write parts into a folder.
find_cuda() {
    local nccl
    if [ -z "${HOROVOD_CUDA_HOME:-}" ] && ! has nvcc; then
        pip_locked --target "$1/cuda" -r "$deploy/cuda.lock"
        export HOROVOD_CUDA_HOME=$1/cuda/nvidia/cu13 HOROVOD_BUILD_CUDA_CC_LIST=${HOROVOD_BUILD_CUDA_CC_LIST:-75,80,90}
        # Names by which nvcc and CMake look for the run-time library, and which the wheels lack.
        ln -s lib "$HOROVOD_CUDA_HOME/lib64"
        ln -s libcudart.so.13 "$HOROVOD_CUDA_HOME/lib/libcudart.so"
    fi
    if [ -n "${HOROVOD_NCCL_HOME:-}" ]; then return; fi
    nccl=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/nccl
    if [ ! -e "$nccl/lib/libnccl.so.2" ]; then
        echo "HOROVOD_GPU_OPERATIONS=NCCL needs NCCL: set GPU=1, and TensorFlow brings it, or set HOROVOD_NCCL_HOME"
        return 1
    fi
    mkdir -p "$1/nccl/lib"
    ln -s "$nccl/include" "$1/nccl/include"
    ln -s "$nccl/lib/libnccl.so.2" "$1/nccl/lib/libnccl.so"
    export HOROVOD_NCCL_HOME=$1/nccl HOROVOD_NCCL_LINK=SHARED
    # from horovod/tensorflow to TensorFlow's NCCL, wherever the environment is
    export LDFLAGS="-Wl,-rpath,\$ORIGIN/../../nvidia/nccl/lib ${LDFLAGS:-}"
}

# The patch takes out what TensorFlow 2.21 no longer ships or exports.
build_horovod() {
    local source=$1.source
    mkdir -p "$source"
    locked horovod "$deploy/requirements.lock" >"$1.lock"
    "$venv/bin/python" -m pip download --no-build-isolation --no-deps --no-binary :all: --dest "$source" \
        --require-hashes -r "$1.lock"
    tar -xzf "$source"/horovod-*.tar.gz --strip-components 1 -C "$source"
    rm "$source"/horovod-*.tar.gz
    patch --directory "$source" --strip 1 --fuzz 0 <"$horovod_patch"
    if [ "${HOROVOD_GPU_OPERATIONS:-}" = NCCL ]; then find_cuda "$1.needs"; fi
    # By default Horovod's build starts eight compilers, on any machine.
    MAKEFLAGS=${MAKEFLAGS:--j$(nproc)} PATH=$venv/bin:$PATH CMAKE_POLICY_VERSION_MINIMUM=3.5 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 \
        HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITHOUT_NVTX=1 \
        pip_wheel "$1" "$source"
}

# what a Horovod is built from, beside the versions in its key
horovod_inputs() {
    env | grep '^HOROVOD_' | sort
    cat "$horovod_patch"
    declare -f find_cuda
    if [ "${HOROVOD_GPU_OPERATIONS:-}" = NCCL ]; then
        cat "$deploy/cuda.lock"
        PATH=${HOROVOD_CUDA_HOME:-}/bin:$PATH nvcc --version 2>/dev/null || true
    fi
}

# compiled name version key: builds a wheel unless one with this key and build function is kept, then installs it
compiled() {
    local name=$1 version=$2 key wheel
    key=$3-$(hash_of "$(declare -f "build_$name" pip_wheel wheel_of numpy_first)")
    if [ -z "$(kept_wheel "$key")" ]; then run "$name $version compiled" keep_wheel "$key" "build_$name"; fi
    wheel=$(kept_wheel "$key")
    run_once "$(stat -c '%n %s %Y' "$wheel")" "$name $version installed" "install_$name" "$wheel"
}

install_h5py() { pip_install --no-deps --force-reinstall "$1"; }
install_gdal() { pip_install --no-deps --force-reinstall "$1"; }
install_horovod() { pip_install --no-deps --force-reinstall "$1"; }

# ---- the environment -------------------------------------------------------------------------------------------

pip_install() { "$venv/bin/python" -m pip install "$@"; }

# The lock files have all packages that others need. Only wheels: a source archive would fetch build tools unchecked.
# jsonpath-rw, which mlcroissant needs, has no wheel: the setuptools of the environment makes one.
pip_locked() {
    pip_install --require-hashes --no-deps --only-binary :all: --no-binary jsonpath-rw --no-build-isolation "$@"
}

make_venv() {
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ]; then
        echo "$venv is there and is no virtual environment; name another: VENV=... bash deploy/install.sh"
        return 1
    fi
    "$python" -m venv --clear "$venv"
}

# Whether the environment is complete and has the right Python.
venv_fits() {
    local print_tag='import pip, sys; print(sys.implementation.cache_tag)'
    [ ! -e "$venv/.interrupted" ] && [ "$("$venv/bin/python" -c "$print_tag" 2>/dev/null)" = "$tag" ]
}

# The compiled packages build against numpy and mpi4py, so these are installed with the build tools.
build_environment() {
    local names
    names=$(sed -n 's/==.*//p' "$deploy/requirements-build.txt" | tr '[:upper:]\n' '[:lower:]|')
    locked "${names}numpy|mpi4py" "$deploy/requirements.lock" >"$venv/build.lock"
    pip_locked -r "$venv/build.lock"
}

# libmpi that mpicc links, as h5py and Horovod do
libmpi_of_mpicc() {
    local program=$venv/.libmpi
    echo 'int MPI_Finalize(void); int main(void) { return MPI_Finalize(); }' | mpicc -x c -o "$program" -
    ldd "$program" | sed -n 's/.* => \(\/[^ ]*\/libmpi[^ ]*\).*/\1/p' | head -n 1
    rm "$program"
}

# mpi4py's wheel opens libmpi.so, libmpi.so.12 (MPICH) or libmpi.so.40 (Open MPI), first in the environment's lib/. The
# machine's may be of another MPI, and Debian's MPICH has another name: a library of the expected name then refers to it.
mpi4py_opens_libmpi() {
    local wanted lib=$venv/lib
    rm -f "$lib"/libmpi.so*
    wanted=$(libmpi_of_mpicc)
    if mpi4py_uses "$wanted"; then return; fi
    case $wanted in
    */libmpi.so.*) ln -s "$wanted" "$lib/libmpi.so" ;;
    *) mpicc -shared -Wl,-soname,libmpi.so.12 -Wl,--no-as-needed -x c /dev/null -o "$lib/libmpi.so.12" ;;
    esac
    mpi4py_uses "$wanted" || { echo "mpi4py cannot use $wanted, which mpicc links"; return 1; }
}

mpi4py_uses() {
    "$venv/bin/python" - "$(realpath "$1")" <<'PYTHON'
import sys
from pathlib import Path

from mpi4py import MPI

sys.exit(sys.argv[1] not in Path("/proc/self/maps").read_text())
PYTHON
}

tensorflow_here() {
    local gpu=${GPU:-0}
    if [ -z "${GPU:-}" ] && has nvidia-smi; then gpu=1; fi
    if [ "$gpu" = 1 ]; then echo tensorflow-gpu; else echo tensorflow-cpu; fi
}

# h5py with MPI is already installed, so pip keeps it. Horovod is compiled later, against the packages installed here.
pinned_packages() {
    awk '/^[^ ]/ { skip = /^horovod==/ } !skip' "$deploy/requirements.lock" >"$venv/all.lock"
    pip_locked -r "$venv/all.lock" -r "$deploy/$(tensorflow_here).lock"
}

this_project() { pip_install --no-deps --no-build-isolation --editable "$project"; }

works() {
    cd "$venv"
    "$venv/bin/python" - <<'PYTHON'
import h5py
from osgeo import gdal, gdal_array

if not h5py.get_config().mpi:
    raise SystemExit("h5py was built without MPI")
gdal.UseExceptions()
gdal_array.OpenArray
PYTHON
    "$venv/bin/python" -c 'import horovod.tensorflow as hvd; assert hvd.mpi_built(), "Horovod was built without MPI"'
}

main() {
    local start=$SECONDS
    trap 'fail "interrupted; run it again to go on"' INT TERM HUP
    python=${PYTHON:-python3}
    root=$(way_to_root)
    mkdir -p "$wheels" "$logs"
    exec 9>"$cache/lock"
    if has flock && ! flock --nonblock 9; then
        say "another install.sh is at work; waiting for it"
        flock 9
    fi
    rm -rf "$wheels"/.building.*
    check_system
    check_python
    tag=$(python_tag)
    local on
    on=$tag-$(uname -m)
    venv_fits || run "environment $venv of $("$python" -V)" make_venv
    run_once "$(cat "$deploy/requirements-build.txt" "$deploy/requirements.lock")" \
        "build tools, numpy, mpi4py" build_environment
    local numpy mpi hdf5 gdal
    run_once "$(command -v mpicc) $(mpi_version)" "mpi4py with the MPI of mpicc" mpi4py_opens_libmpi
    numpy=numpy$(pinned numpy) mpi=$(mpi_version) hdf5=HDF5_$(hdf5_version) gdal=$(gdal-config --version)
    compiled h5py "$(pinned h5py)" "h5py-$(pinned h5py)-$on-$mpi-$hdf5-$numpy"
    compiled gdal "$gdal" "gdal-$gdal-$on-$numpy"
    run_once "$(cat "$deploy/requirements.lock" "$deploy/$(tensorflow_here).lock")" "locked packages" pinned_packages
    local horovod_key
    horovod_key=horovod-$(pinned horovod)-patched-$on-$mpi-$(locked 'tensorflow.*' "$deploy/$(tensorflow_here).lock" | tr -dc 'a-z0-9.=-' | cut -c1-40)
    horovod_key+=-$(hash_of "$(horovod_inputs)")
    compiled horovod "$(pinned horovod)" "$horovod_key"
    if [ "${ONLY_NEEDS:-0}" != 1 ]; then
        run_once "$project $(<"$project/setup.cfg") $(<"$project/pyproject.toml")" "the project, editable" this_project
    fi
    run_once "$(cat "${BASH_SOURCE[0]}" "$venv"/.steps/{install_*,pinned_packages})" "a first import of all of it" works
    say "ready: $venv ($((SECONDS - start)) s)"
}

main "$@"
