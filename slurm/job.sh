# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the batch scripts share: one start of braid on all of the job's ranks, the signals that ask it to stop, and
# another start of the job when it has stopped with a checkpoint (exit code 85) or has lost a node.
#   BRAID_LAUNCHER      srun (default), mpirun, or files: srun on a site whose SLURM has no PMIx
#   BRAID_MAX_RESTARTS  how often the job may start again (default 100)
#   BRAID_BINARY        another build's braid

set -uo pipefail
root=${BRAID_ROOT:-$SLURM_SUBMIT_DIR}
# shellcheck source=launch/common.sh
me="slurm job $SLURM_JOB_ID" && source "$root/launch/common.sh"
# shellcheck source=launch/stop.sh
source "$root/launch/stop.sh"
# Modules, network interfaces and the like of this cluster; see slurm/site.example.sh.
if [[ -f $root/slurm/site.sh ]]; then source "$root/slurm/site.sh"; fi

# An array's first element has the number of the whole array, too.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
job=${job:-$SLURM_JOB_ID}
ranks=${SLURM_NTASKS:-$((SLURM_JOB_NUM_NODES * ${SLURM_NTASKS_PER_NODE:-1}))}
scratch=""  # where ranks without PMIx meet

# No GPU binding: all ranks of a node see all of its GPUs, each takes the one of its place there, and peers can reach each
# other's. (--gpu-bind=none is something else: in SLURM 22.05 it takes CUDA_VISIBLE_DEVICES away.)
srun_words() {
  printf '%s\n' srun "--mpi=$1" --kill-on-bad-exit=0 --ntasks="$ranks"
  if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then printf '%s\n' --cpus-per-task="$SLURM_CPUS_PER_TASK"; fi
}

launch_words() {
  case ${BRAID_LAUNCHER:-srun} in
    srun) srun_words pmix ;;
    mpirun)
      printf '%s\n' mpirun -n "$ranks" --bind-to none --oversubscribe
      if [[ $(id -u) == 0 ]]; then printf '%s\n' --allow-run-as-root; fi
      ;;
    files)
      srun_words none
      # shellcheck disable=SC2016 # for the shell of each rank
      printf '%s\n' env "BRAID_RENDEZVOUS=$scratch" "BRAID_WORLD=$ranks" \
        bash -c 'BRAID_RANK=$SLURM_PROCID exec "$@"' rank
      ;;
    *) fail 2 "BRAID_LAUNCHER=$BRAID_LAUNCHER: expected srun, mpirun or files" ;;
  esac
}

# A folder that is the same for every start of this job, or a restart would begin anew.
default_out() {
  local word
  for word in "$@"; do
    if [[ $word == --out || $word == --out=* ]]; then return; fi
  done
  printf '%s\n' --out "runs/$SLURM_JOB_NAME-${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}"
}

start_again() {
  local restarts=${SLURM_RESTART_COUNT:-0} limit=${BRAID_MAX_RESTARTS:-100}
  if ((restarts >= limit)); then
    say "$1; not started again: $restarts restarts are the limit (BRAID_MAX_RESTARTS). The same sbatch command goes on"
  elif scontrol requeue "$job"; then
    say "$1; this job waits for its next start"
  elif [[ $(squeue -h -j "$job" -o %T 2>/dev/null) == PENDING ]]; then
    say "$1; SLURM has taken this job back"
  else
    say "$1; SLURM does not take the job back. The same sbatch command goes on from here"
  fi
}

# Whether each node of the job still starts programs. SLURM itself may need minutes to see that one does not.
nodes_answer() {
  ((SLURM_JOB_NUM_NODES < 2)) ||
    timeout 90 srun --overlap --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
      --ntasks-per-node=1 --cpus-per-task=1 --quiet true
}

# SIGTERM comes with scancel, which ends the job, or with preemption, which gives it time: then it is RUNNING still.
cancelled() { [[ $stopped_by == TERM && $(squeue -h -j "$job" -o %T 2>/dev/null) != RUNNING ]]; }

conclude() {
  local code=$1
  if ((code == 85)) && cancelled; then
    say "cancelled, with a checkpoint; the same sbatch command goes on"
  elif ((code == 85)); then
    start_again "stopped before its end"
  elif ((code == 0 || code == 2)); then
    say "ended with exit code $code"
  elif nodes_answer; then
    say "failed with exit code $code; the lines above tell why. The same sbatch command goes on from the last checkpoint"
  else
    start_again "a node of this job does not answer"
  fi
}

# Ends with braid's exit code.
launch() {
  local code=0
  "$@" </dev/null &
  launcher=$!
  if [[ -n $stopped_by ]]; then pass_on_stop "$stopped_by"; fi
  wait_for_launcher || code=$?
  launcher=""
  return "$code"
}

# A node that crashed keeps the sockets and folders of the step that it ran, and SLURM's PMIx cannot make them again: a
# restarted job whose first step fails at once tries others, which have other numbers.
launch_patiently() {
  local code try begin
  for try in 1 2 3; do
    rm -rf "$scratch"
    begin=$SECONDS code=0
    launch "$@" || code=$?
    if ((code == 0 || code == 2 || code == 85 || SECONDS > begin + 60)) || [[ -n $stopped_by ]]; then break; fi
    if ((${SLURM_RESTART_COUNT:-0} == 0 || try == 3)) || ! nodes_answer; then break; fi
    say "exit code $code at once after a restart; trying another step"
  done
  return "$code"
}

# Before the first start of braid on this job's ranks.
begin() {
  [[ -x $binary ]] || fail 1 "$binary is missing: run launch/setup first, on a login node"
  scratch="$SLURM_SUBMIT_DIR/.meeting-$job-${SLURM_RESTART_COUNT:-0}"
  export OMPI_MCA_orte_execute_quiet=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
  trap 'pass_on_stop TERM' TERM
  trap 'pass_on_stop USR1' USR1
}

# on_all_ranks COMMAND [options of braid…]: its exit code.
on_all_ranks() {
  local words code=0
  words=$(launch_words) || exit
  mapfile -t words <<<"$words"
  words+=("$binary" "$@")
  say "start $((${SLURM_RESTART_COUNT:-0} + 1)) on $SLURM_JOB_NODELIST: $(quoted "${words[@]}")"
  launch_patiently "${words[@]}" || code=$?
  rm -rf "$scratch"
  return "$code"
}

# finish CODE: what becomes of a job that ended so; never returns.
finish() {
  conclude "$1"
  exit "$1"
}

# run COMMAND CONFIG [options of braid…]: never returns.
run() {
  local code=0 folder
  begin
  mapfile -t folder < <(default_out "$@")
  on_all_ranks "$@" "${folder[@]}" || code=$?
  finish "$code"
}
