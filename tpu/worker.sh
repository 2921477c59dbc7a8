#!/usr/bin/env bash
# What the other scripts run on a worker, through ssh; nothing in it knows of gcloud.
#
#   tpu/worker.sh setup [--python VERSION]              the virtual environment, from constraints/
#   tpu/worker.sh doctor                                python -m tpu.doctor
#   tpu/worker.sh start [--env NAME=VALUE] -- COMMAND   starts a job, detached; status 2 where one is running
#   tpu/worker.sh status                                one line, as tpu/status.sh explains it
#   tpu/worker.sh stop [--seconds N]                    SIGTERM, and SIGKILL for what is left after that time
#   tpu/worker.sh log [--lines N] [--follow]            the end of the log
#   tpu/worker.sh step --workdir DIR                    "flax_lite-step N": the step of the newest checkpoint
#
# ~/.flax_lite_job holds the log of all launches, and of the last one its command, process group and exit status. A lock
# there is held by every process of the job, so that "running" is true until the last one has let go of the TPU.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option=([env]='' [dry_run]='' [seconds]=120 [lines]=40 [workdir]='' [python]=3.12)
switches=(help follow)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$HOME/.flax_lite_job
readonly root state

make_environment() {
  local version=$1
  [[ ! -x .venv/bin/python ]] || return 0
  if command -v uv >/dev/null; then
    uv venv --quiet --seed --python "$version" .venv
  elif command -v "python$version" >/dev/null; then
    "python$version" -m venv .venv
  else
    # The images of TPU VMs bring an older Python and no uv (2026-11); uv brings any Python.
    say "neither uv nor python$version is here: installing uv"
    python3 -m pip install --quiet --user 'uv>=0.13.9,<0.14'
    python3 -m uv venv --quiet --seed --python "$version" .venv
  fi
}

setup() {
  make_environment "${option[python]}"
  local found constraints
  found=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  [[ $found == "${option[python]}" ]] ||
    fail 2 "$root/.venv is of Python $found, not ${option[python]}: remove it, or give --python $found"
  constraints=constraints/py312.txt
  [[ $found != 3.11 ]] || constraints=constraints/py311.txt
  .venv/bin/python -m pip install --quiet --constraint "$constraints" --editable '.[tpu]'
}

doctor() {
  env "${JOB_SETTINGS[@]}" .venv/bin/python -m tpu.doctor --expect_platform tpu
}

running() {
  [[ -e $state/lock ]] && ! flock --nonblock "$state/lock" true
}

start() {
  ((${#job[@]})) || mistake 'no job: write its command behind --'
  mkdir -p "$state"
  exec 9>>"$state/lock"
  flock --nonblock 9 ||
    fail 2 "$(hostname): a job is running here ($(cat "$state/command")). Wait for it, or stop it with tpu/stop.sh"
  rm -f "$state/ended" "$state/group"
  quoted "${job[@]}" >"$state/command"
  local settings
  mapfile -t settings < <(printf '%s' "${option[env]}")
  # The lock, file 9, is inherited by all of them.
  env "${settings[@]}" PATH="$root/.venv/bin:$PATH" PYTHONUNBUFFERED=1 \
    setsid bash "$root/tpu/worker.sh" attend -- "${job[@]}" </dev/null >>"$state/log" 2>&1 &
  # Until there is something for `stop` to stop.
  while [[ ! -e $state/group ]] && kill -0 $! 2>/dev/null; do
    sleep 0.05
  done
  say "$(hostname): started, its output goes to $state/log"
}

# Runs the job to its end and keeps its exit status. A signal to the group is the job's to answer, not this shell's.
attend() {
  local status=0
  trap : TERM INT HUP
  printf '%s\n' "$$" >"$state/group.new"
  mv "$state/group.new" "$state/group"
  printf '%s: started: %s\n' "$(date -u +%FT%TZ)" "$(quoted "${job[@]}")"
  "${job[@]}" || status=$?
  printf '%s: ended with status %s\n' "$(date -u +%FT%TZ)" "$status"
  printf '%s %s\n' "$status" "$(date +%s.%3N)" >"$state/ended.new"
  mv "$state/ended.new" "$state/ended"
}

status() {
  local is=none
  if running; then
    is=running
    [[ ! -e $state/ended ]] || is="ending $(cat "$state/ended")"
  elif [[ -e $state/ended ]]; then
    is="exited $(cat "$state/ended")"
  elif [[ -e $state/command ]]; then
    is=lost
  fi
  printf 'flax_lite-worker %s %s\n' "$(hostname)" "$is"
}

stop() {
  local group until=$((SECONDS + option[seconds]))
  running || return 0
  group=$(cat "$state/group" 2>/dev/null) || fail 1 "$(hostname): the job is just starting; try again"
  kill -TERM -- "-$group" || true
  while running && ((SECONDS < until)); do
    sleep 1
  done
  if running; then
    kill -KILL -- "-$group" || true
  fi
}

log() {
  local follow=()
  [[ -z ${option[follow]:-} ]] || follow=(--follow=name --retry)
  [[ -e $state/log ]] || fail 1 "$(hostname): no log: nothing was launched here"
  tail --lines "${option[lines]}" "${follow[@]}" "$state/log" | sed --unbuffered "s/^/$(hostname): /"
}

step() {
  require workdir
  local summary=${option[workdir]}/summary.json
  [[ ! -e $summary ]] || printf 'flax_lite-step %s\n' "$(step_of_summary <"$summary")"
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
