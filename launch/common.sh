# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the launch scripts share: how they speak, and what this machine has (cores, memory, GPUs, driver). Only the names
# set at the top and the functions below are meant for use. BRAID_BINARY is another build's braid; BRAID_PROBE_ROOT is a
# folder that stands for / when the machine is looked at (tests use both).

me="${me:-launch/${0##*/}}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
binary="${BRAID_BINARY:-$root/build/braid}"
probe="${BRAID_PROBE_ROOT:-}"
readonly me root binary probe
readonly minimum_driver=580  # CUDA 13

say() { printf '%s: %s\n' "$me" "$*"; }
warn() { printf '%s: %s\n' "$me" "$*" >&2; }

# fail EXIT_CODE MESSAGE: 2 is wrong use, 1 everything else.
fail() {
  local code=$1
  shift
  warn "$*"
  exit "$code"
}

# The script's own comment is its help text.
print_help() { sed -n '3,/^$/{s/^# \{0,1\}//p}' "$0"; }

# Where the sources of Python's own library lie: text that every machine with a set-up has.
standard_library() {
  local python=/usr/bin/python3
  [[ -x $python ]] || python=python3
  "$python" -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])'
}

# need_value OPTION [WORDS…]: the option is followed by a value.
need_value() { [[ $# -ge 2 && -n $2 ]] || fail 2 "$1 needs a value"; }

# A command as one could type it.
quoted() {
  local word line=""
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=$(printf '%q' "$word")
    line+=" $word"
  done
  printf '%s\n' "${line# }"
}

# Whether a configuration file has a [sweep] table.
is_sweep() { grep -Eq '^[[:space:]]*(\[[[:space:]]*sweep[[:space:]]*[].]|sweep[[:space:]]*[.=])' "$1"; }

# Logical CPUs this process may use: its affinity, then the container's quota. (nproc would repeat OMP_NUM_THREADS.)
logical_cpus() {
  local cpus quota="" period=""
  cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  { read -r quota period <"$probe/sys/fs/cgroup/cpu.max"; } 2>/dev/null || true
  if [[ $quota =~ ^[0-9]+$ ]] && ((cpus * period > quota)); then
    cpus=$(((quota + period - 1) / period))
  fi
  printf '%d\n' "$cpus"
}

# Cores rather than hyperthreads: what a matrix product can use, and what mpirun counts as slots.
physical_cores() {
  local cpus cores
  cpus=$(logical_cpus)
  cores=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l) || cores=0
  if ((cores < 1 || cores > cpus)); then cores=$cpus; fi
  printf '%d\n' "$cores"
}

# Memory that is free for use, in GiB, at least 1.
free_memory_gib() {
  local kib limit=""
  kib=$(awk '/^MemAvailable:/ {print $2}' "$probe/proc/meminfo" 2>/dev/null) || kib=""
  { read -r limit <"$probe/sys/fs/cgroup/memory.max"; } 2>/dev/null || true
  kib=${kib:-4194304}
  if [[ $limit =~ ^[0-9]+$ ]] && ((limit / 1024 < kib)); then kib=$((limit / 1024)); fi
  printf '%d\n' $((kib < 1048576 ? 1 : kib / 1048576))
}

# One line a GPU, "index,uuid,name,MiB,capability", in the order of the PCI bus; nothing where there is none.
gpu_table() {
  local table
  table=$(nvidia-smi --query-gpu=index,uuid,name,memory.total,compute_cap --format=csv,noheader,nounits 2>/dev/null |
    sed 's/, */,/g' | grep -E '^[0-9]+,') || table=$(gpu_table_of_driver)
  if [[ -n $table ]]; then printf '%s\n' "$table"; fi
}

# The same without nvidia-smi, as far as the driver's files tell. A container sees the files of GPUs it may not use.
gpu_table_of_driver() {
  local file minor index=0
  for file in "$probe"/proc/driver/nvidia/gpus/*/information; do
    minor=$(sed -n 's/^Device Minor:[[:space:]]*//p' "$file" 2>/dev/null) || continue
    [[ -e $probe/dev/nvidia$minor ]] || continue
    printf '%d,%s,%s,,\n' $((index++)) "$(sed -n 's/^GPU UUID:[[:space:]]*//p' "$file")" \
      "$(sed -n 's/^Model:[[:space:]]*//p' "$file")"
  done
}

# A display or 3D controller (PCI class 03) of NVIDIA's (vendor 10de).
nvidia_on_pci_bus() {
  local device
  for device in "$probe"/sys/bus/pci/devices/*; do
    if grep -qs '^0x10de' "$device/vendor" && grep -qs '^0x03' "$device/class"; then return 0; fi
  done
  return 1
}

# One line when NVIDIA hardware is here and its driver cannot run this build: found, needed, remedy. Else nothing.
driver_problem() {
  local version="" remedy
  remedy="this build needs driver $minimum_driver or newer (CUDA 13): update the driver, or go on with --device cpu"
  if [[ -r $probe/proc/driver/nvidia/version ]]; then
    version=$(grep -oEm1 '[0-9]+\.[0-9]+(\.[0-9]+)?' "$probe/proc/driver/nvidia/version" | sed -n 1p) || version=0
    ((${version%%.*} >= minimum_driver)) || printf '%s\n' "found NVIDIA hardware with driver $version; $remedy"
  elif nvidia_on_pci_bus; then
    printf '%s\n' "found NVIDIA hardware but no loaded driver; $remedy"
  fi
}

require_driver() {
  local problem
  problem=$(driver_problem)
  [[ -z $problem ]] || fail 1 "$problem"
}

# Whether the braid beside this CMakeCache.txt was built for GPUs; yes where nothing is known.
built_with_cuda() {
  ! grep -qsiE '^BRAID_CUDA:BOOL=(OFF|0|NO|FALSE)$' "$(dirname "$binary")/CMakeCache.txt"
}

# A build of launch/setup --prefix needs what was unpacked there.
use_prefix() {
  local prefix
  prefix=$(sed -n 's/^BRAID_PREFIX:[A-Z]*=//p' "$(dirname "$binary")/CMakeCache.txt" 2>/dev/null) || return 0
  # shellcheck source=/dev/null
  if [[ -n $prefix && -r $prefix/env.sh ]]; then source "$prefix/env.sh"; fi
}
use_prefix
