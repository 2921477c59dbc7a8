#!/usr/bin/env bash
# What the other scripts run on a worker, through ssh; nothing in it knows of gcloud.
#
#   tpu/worker.sh setup [--python VERSION] [--workdir DIR]   the virtual environment, from constraints/
#   tpu/worker.sh doctor [--workdir DIR]                     python -m tpu.doctor
#   tpu/worker.sh start [--env NAME=VALUE] [--env_file FILE] -- COMMAND
#                                                            starts a job, detached; status 2 where one is running;
#                                                            FILE is relative to the home
#   tpu/worker.sh status                                     one line, as tpu/status.sh explains it
#   tpu/worker.sh stop [--seconds N]                         SIGTERM, and SIGKILL for what is left after that time
#   tpu/worker.sh log [--lines N] [--follow]                 the end of the log
#   tpu/worker.sh step --workdir DIR                         "flax_lite-step N": the step of the newest checkpoint
#
# With --dry_run the first three and stop print what they would run. ~/.flax_lite_job holds the log of all launches, and
# of the last one its command, process group and exit status. The job holds a lock there, and so does what it leaves
# behind: "running" is true until the last process has let go of the TPU.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option=([env]='' [env_file]='' [dry_run]='' [seconds]=120 [lines]=40 [workdir]='' [python]=3.12)
switches=(help dry_run follow)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$HOME/.flax_lite_job
readonly root state
# What the kernel may take to free the memory of a killed process.
readonly KILLED_SECONDS=30

make_environment() {
  local version=$1
  # With pip: without, its making was interrupted.
  ! .venv/bin/python -m pip --version >/dev/null 2>&1 || return 0
  run rm -rf .venv
  if command -v uv >/dev/null; then
    run uv venv --quiet --seed --python "$version" .venv
  elif "python$version" -c 'import ensurepip' 2>/dev/null; then
    run "python$version" -m venv .venv
  else
    # The images of TPU VMs bring an older Python and no uv (2026-11); uv brings any Python.
    say "neither uv nor a python$version that makes environments is here: installing uv"
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
    fail 2 "$root/.venv is of Python $found, not ${option[python]}: remove it, or give --python $found"
  [[ $found != 3.11 ]] || constraints=constraints/py311.txt
  [[ ${option[workdir]} != gs://* ]] || extras=tpu,gcs
  run .venv/bin/python -m pip install --quiet --constraint "$constraints" --editable ".[$extras]"
}

doctor() {
  local where=()
  [[ -z ${option[workdir]} ]] || where=(--workdir "${option[workdir]}")
  run env "${JOB_SETTINGS[@]}" .venv/bin/python -m tpu.doctor --expect_platform tpu "${where[@]}"
}

# A shared lock: two that look at the same time do not see each other.
running() {
  [[ -e $state/lock ]] && ! flock --nonblock --shared "$state/lock" true
}

start() {
  ((${#job[@]})) || mistake 'no job: write its command behind --'
  if [[ -n ${option[dry_run]} ]]; then
    quoted env "${settings[@]}" setsid "${job[@]}"
    return
  fi
  mkdir -p "$state"
  exec 9>>"$state/lock"
  # With patience: who asks for the status holds the lock for a moment.
  flock --wait 1 9 || fail 2 "$(hostname): a job is running here ($(cat "$state/command" || true))." \
    'Wait for it, or stop it with tpu/stop.sh'
  rm -f "$state/ended" "$state/group"
  quoted "${job[@]}" >"$state/command"
  if [[ -n ${option[env_file]} ]]; then
    chmod 600 "$HOME/${option[env_file]}"
    export_settings "$HOME/${option[env_file]}"
  fi
  # The lock, file 9, is inherited by the job.
  env "${settings[@]}" PATH="$root/.venv/bin:$PATH" PYTHONUNBUFFERED=1 \
    setsid bash "$root/tpu/worker.sh" attend -- "${job[@]}" </dev/null >>"$state/log" 2>&1 &
  # Until there is something for `stop` to stop.
  while [[ ! -e $state/group ]] && kill -0 $! 2>/dev/null; do
    sleep 0.05
  done
  say "$(hostname): started, its output goes to $state/log"
}

# Runs the job to its end, in a process group of its own, of which this shell is the head.
attend() {
  local status=0
  trap : TERM # as run_to_end has it: from the moment on at which `stop` knows whom to stop
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
  group=$(cat "$state/group" 2>/dev/null) || fail 1 "$(hostname): the job is just starting; try again"
  run kill -TERM -- "-$group" || true
  [[ -z ${option[dry_run]} ]] || return 0
  ends_in "${option[seconds]}" && return
  kill -KILL -- "-$group" || true
  ends_in "$KILLED_SECONDS" ||
    fail 1 "$(hostname): something of the job lives on, perhaps in a process group of its own, or in the kernel"
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
  [[ -e $state/log ]] || fail 1 "$(hostname): no log: nothing was launched here"
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
    *) mistake "not understood: $action" ;;
  esac
  parse "${@:2}"
  require_count seconds lines
  cd "$root"
  "$action"
}

main "$@"
