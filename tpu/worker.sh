#!/usr/bin/env bash
# Runs on a worker: the other scripts call it through ssh. It does not use gcloud.
#
#   tpu/worker.sh setup [--python VERSION] [--workdir DIR]   creates the virtual environment, from constraints/
#   tpu/worker.sh doctor [--workdir DIR]                     runs python -m tpu.doctor
#   tpu/worker.sh start [--env NAME=VALUE] [--env_file FILE] -- COMMAND
#                                                            starts a job in the background; status 2 if one is running;
#                                                            FILE is relative to the home directory
#   tpu/worker.sh status                                     prints the line that tpu/status.sh explains
#   tpu/worker.sh stop [--seconds N]                         sends SIGTERM, and SIGKILL after N seconds
#   tpu/worker.sh log [--lines N] [--follow]                 prints the end of the log
#   tpu/worker.sh step --workdir DIR                         prints "flax_lite-step N" of the newest checkpoint
#
# With --dry_run, setup, doctor, start and stop print their commands instead. ~/.flax_lite_job contains the log of all
# launches, and the command, process group and exit status of the last one. The job and its child processes hold a lock
# there, so a job counts as running until the last of them has ended and released the TPU.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option=([env]='' [env_file]='' [dry_run]='' [seconds]=120 [lines]=40 [workdir]='' [python]=3.12)
switches=(help dry_run follow)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$HOME/.flax_lite_job
readonly root state
# Time for the kernel to free the memory of a killed process.
readonly KILLED_SECONDS=30

make_environment() {
  local version=$1
  # An environment without pip was interrupted while it was created.
  ! .venv/bin/python -m pip --version >/dev/null 2>&1 || return 0
  run rm -rf .venv
  if command -v uv >/dev/null; then
    run uv venv --quiet --seed --python "$version" .venv
  elif "python$version" -c 'import ensurepip' 2>/dev/null; then
    run "python$version" -m venv .venv
  else
    # The images of TPU VMs have an older Python and no uv (2026-11); uv can install any Python.
    info "there is neither uv nor a python$version with ensurepip: installing uv"
    run python3 -m pip install --quiet --user 'uv>=0.13.9,<0.14'
    run python3 -m uv venv --quiet --seed --python "$version" .venv
  fi
}

setup() {
  make_environment "${option[python]}"
  local found=${option[python]} constraints=constraints/py312.txt extras=tpu
  if [[ -z ${option[dry_run]} ]]; then
    found=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  fi
  [[ $found == "${option[python]}" ]] ||
    fail 2 "$root/.venv has Python $found, not ${option[python]}: remove it, or give --python $found"
  [[ $found != 3.11 ]] || constraints=constraints/py311.txt
  [[ ${option[workdir]} != gs://* ]] || extras=tpu,gcs
  run .venv/bin/python -m pip install --quiet --constraint "$constraints" --editable ".[$extras]"
}

doctor() {
  local where=()
  [[ -z ${option[workdir]} ]] || where=(--workdir "${option[workdir]}")
  run env "${JOB_SETTINGS[@]}" .venv/bin/python -m tpu.doctor --expect_platform tpu "${where[@]}"
}

# Tests with a shared lock, so that concurrent calls do not see each other.
running() {
  [[ -e $state/lock ]] && ! flock --nonblock --shared "$state/lock" true
}

start() {
  ((${#job[@]})) || usage_error 'no job: give its command after --'
  if [[ -n ${option[dry_run]} ]]; then
    quoted env "${settings[@]}" setsid "${job[@]}"
    return
  fi
  mkdir -p "$state"
  exec 9>>"$state/lock"
  # Waits a second, because a concurrent `status` holds the lock briefly.
  flock --wait 1 9 || fail 2 "$(hostname): a job is running here ($(cat "$state/command" || true))." \
    'Wait for it, or stop it with tpu/stop.sh'
  rm -f "$state/ended" "$state/group"
  quoted "${job[@]}" >"$state/command"
  if [[ -n ${option[env_file]} ]]; then
    chmod 600 "$HOME/${option[env_file]}"
    export_settings "$HOME/${option[env_file]}"
  fi
  # The job inherits the lock (file descriptor 9).
  env "${settings[@]}" PATH="$root/.venv/bin:$PATH" PYTHONUNBUFFERED=1 \
    setsid bash "$root/tpu/worker.sh" attend -- "${job[@]}" </dev/null >>"$state/log" 2>&1 &
  # Waits until `stop` can find the process group.
  while [[ ! -e $state/group ]] && kill -0 $! 2>/dev/null; do
    sleep 0.05
  done
  info "$(hostname): started; its output is written to $state/log"
}

# Runs the job to its end, in a new process group that this shell leads.
attend() {
  local status=0
  trap : TERM # as in run_to_end, but before `stop` can find the process group
  printf '%s: started: %s\n' "$(date -u +%FT%TZ)" "$(quoted "${job[@]}")"
  printf '%s\n' "$$" >"$state/group.new"
  mv "$state/group.new" "$state/group"
  run_to_end "$state/ended" || status=$?
  printf '%s: ended with status %s\n' "$(date -u +%FT%TZ)" "$status"
}

status() {
  local is=none
  if running; then
    is="running $(($(date +%s) - $(stat --format=%Y "$state/log" 2>/dev/null || date +%s)))"
    [[ ! -e $state/ended ]] || is="ending $(cat "$state/ended")"
  elif [[ -e $state/ended ]]; then
    is="exited $(cat "$state/ended")"
  elif [[ -e $state/command ]]; then
    is=lost
  fi
  printf 'flax_lite-worker %s %s\n' "$(hostname)" "$is"
}

stop() {
  local group
  running || return 0
  group=$(cat "$state/group" 2>/dev/null) || fail 1 "$(hostname): the job is still starting; try again"
  run kill -TERM -- "-$group" || true
  [[ -z ${option[dry_run]} ]] || return 0
  ends_in "${option[seconds]}" && return
  kill -KILL -- "-$group" || true
  ends_in "$KILLED_SECONDS" ||
    fail 1 "$(hostname): a process of the job still runs, perhaps in another process group or in the kernel"
}

ends_in() {
  local until=$((SECONDS + $1))
  while running; do
    ((SECONDS < until)) || return 1
    sleep 0.2
  done
}

log() {
  local follow=()
  [[ -z ${option[follow]:-} ]] || follow=(--follow=name --retry)
  [[ -e $state/log ]] || fail 1 "$(hostname): no log: no job was launched here"
  tail --lines "${option[lines]}" "${follow[@]}" "$state/log" | sed --unbuffered "s/^/$(hostname): /"
}

step() {
  require workdir
  local found
  found=$(newest_step_in "${option[workdir]}")
  [[ -z $found ]] || printf 'flax_lite-step %s\n' "$found"
}

main() {
  local action=${1:-}
  [[ $action != --help ]] || { help && return; }
  case $action in
    setup | doctor | start | attend | status | stop | log | step) ;;
    *) usage_error "unknown action: $action" ;;
  esac
  parse "${@:2}"
  require_count seconds lines
  cd "$root"
  "$action"
}

main "$@"
