# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Runs a launcher (mpirun, srun, braid sweep) to its end. What asks this script to stop reaches it as SIGUSR1, upon which
# all ranks save a checkpoint after the same step and end with 85. mpirun itself would kill its ranks two seconds after
# SIGTERM and at once upon a terminal's Ctrl-C.

launcher=""     # its process id while it runs
stopped_by=""   # the first signal that came: INT, TERM, HUP or USR1
interrupted=0   # a signal has ended bash's wait, not the launcher

pass_on_stop() {
  interrupted=1
  : "${stopped_by:=$1}"
  if [[ -n $launcher ]]; then kill -USR1 "$launcher" 2>/dev/null || true; fi
}

# Every process below PID, itself first.
process_tree() {
  local child
  printf '%s\n' "$1"
  while IFS= read -r child; do process_tree "$child"; done < <(
    grep -sH "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | cut -d/ -f3)
}

# Ends the launcher and all below it: asked first, killed five seconds later.
end_launcher() {
  local tree deadline=$((SECONDS + 5))
  mapfile -t tree < <(process_tree "$launcher")
  kill -TERM "${tree[@]}" 2>/dev/null || true
  while kill -0 "$launcher" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
  kill -KILL "${tree[@]}" 2>/dev/null || true
}

# wait_for_launcher: its exit code. A signal that has a trap ends bash's wait before the launcher has ended. 138 is a
# death by SIGUSR1, which came before the launcher or braid had their handlers: nothing was lost, it may start again.
wait_for_launcher() {
  local code
  while :; do
    interrupted=0 code=0
    wait "$launcher" || code=$?
    ((interrupted)) || break
  done
  if ((code == 138)) && [[ -n $stopped_by ]]; then code=85; fi
  return "$code"
}
