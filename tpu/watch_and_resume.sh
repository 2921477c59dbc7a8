#!/usr/bin/env bash
# Runs a job on a TPU VM until it is done: creates the VM, sets it up, launches the job and watches it. After a
# preemption or a crash it repeats the necessary steps, and the job resumes from its newest checkpoint.
#
#   tpu/watch_and_resume.sh --name albert --zone us-west4-a --accelerator_type v5litepod-8 -- \
#     python -m train.pretrain --config configs/albert_base.py --workdir gs://my-bucket/albert
#
#   as for tpu/create.sh    --accelerator_type --runtime_version --on_demand --flex_start --wait_seconds --gcloud_flag
#   as for tpu/setup.sh     --repository --commit --python
#   as for tpu/launch.sh    --env --env_file --shared_disk
#   --poll_seconds N        interval between checks of the job (60)
#   --hang_seconds N        restart a job that has written nothing to its log for this long (7200; 0: never)
#   --max_restarts N        stop after this many restarts in a row without a newer checkpoint (5)
#   --pause_seconds N       pause before a restart; doubled for each restart in a row, up to half an hour (30)
#   --delete_when_done      delete the TPU VM when the job is done
#   -- COMMAND ...          the job; give it a --workdir on gs://, because a preempted VM loses its disks
#
# Status 2 (a user error) or 1 (a defect, or a failed run) on any worker stops this script with that status and the end
# of the log. The job is restarted after status 75 (saved, or another worker was lost), after a signal (128 and above)
# that came before any other failure, and if a worker is lost. Exit status: 0 done, 75 no TPU in time, else the job's.
# Ended with Ctrl-C and started again, the script resumes watching a job that is still running.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tpu/common.sh
source "$here/common.sh"

option+=([accelerator_type]='' [runtime_version]='' [flex_start]='' [wait_seconds]=86400 [gcloud_flag]=''
  [repository]='' [commit]='' [python]=3.12 [env]='' [env_file]='' [poll_seconds]=60 [hang_seconds]=7200
  [max_restarts]=5 [pause_seconds]=30)
switches+=(on_demand shared_disk delete_when_done)
# Half an hour: longer than a short outage of gcloud, short compared to a job of days.
readonly LONGEST_PAUSE_SECONDS=1800
# Failed checks before a worker counts as unreachable. gcloud itself tries an ssh connection ten times
# (googlecloudsdk/command_lib/compute/tpus/tpu_vm/ssh.py).
readonly UNREACHABLE_CHECKS=3
# Checks to wait for the other workers after one ended with 75. Two minutes by default, because JAX's heartbeat takes
# 100 s to report a dead worker.
readonly LATE_CHECKS=2

newest=0   # step of the newest checkpoint seen
restarts=0 # in a row without a newer checkpoint
vm=unknown # fresh: just created; ready: set up; condemned: to be deleted
last_lines='' # the end of worker 0's log at the last check
# The outcome of the last attempt: finished; stop; again (relaunch on the same VM); unready (there is no TPU VM, or it
# is not set up).
verdict=''
reason='' # a description of the outcome
ended=1   # its exit status

# The options that are passed on to each script, in addition to the common ones.
declare -A takes=(
  [create]='accelerator_type runtime_version flex_start wait_seconds on_demand'
  [setup]='repository commit python'
  [launch]='env_file shared_disk'
)

# Runs another script of this directory with its options and the given arguments.
script() {
  local name=$1 key given=() status=0
  for key in name zone project directory ${takes[$name]:-}; do
    [[ -n ${option[$key]:-} ]] || continue
    if [[ " ${switches[*]} " == *" $key "* ]]; then
      given+=("--$key")
    else
      given+=("--$key=${option[$key]}")
    fi
  done
  [[ $name != create ]] || given+=("${gcloud_flags[@]/#/--gcloud_flag=}")
  [[ $name != launch ]] || given+=("${settings[@]/#/--env=}")
  [[ $name != setup || -z $(workdir_of "${job[@]}") ]] || given+=("--workdir=$(workdir_of "${job[@]}")")
  "$here/$name.sh" "${given[@]}" "${@:2}" </dev/null || status=$?
  # Ctrl-C reaches both processes. If bash missed it while it started the other, it would treat it as a failure.
  ((status != 130)) || kill -INT $$
  return "$status"
}

# Prints the step of the newest checkpoint; nothing if it cannot be read.
newest_step() {
  local workdir
  workdir=$(workdir_of "${job[@]}")
  case $workdir in
    '') ;;
    gs://*) newest_step_in "$workdir" ;;
    *) worker_script 0 step --workdir "$workdir" 2>/dev/null | sed -n 's/^flax_lite-step //p' || true ;;
  esac
}

# Whether there is a newer checkpoint than at the previous call.
progressed() {
  local step
  step=$(newest_step)
  [[ $step =~ ^[0-9]+$ ]] && ((step > newest)) || return 1
  newest=$step
}

conclude() {
  verdict=$1 ended=$2 reason=$3
}

# Sets the verdict from the workers' lines, if the job has ended or hangs.
judge() {
  local status idle
  status=$(deciding_status <<<"$1")
  idle=$(awk '$3 == "running" { print $4 }' <<<"$1" | sort -n | awk 'NR == 1')
  if grep -qE ' (lost|none)$' <<<"$1"; then
    conclude again 75 'a worker was lost'
  elif [[ -n $status && $status != 75 ]] && can_resume "$status"; then
    conclude again "$status" "signal $((status - 128)) killed the job"
  elif [[ -n $status && $status != 75 ]]; then
    conclude stop "$status" "the job ended with status $status"
  elif [[ $status == 75 ]] && { [[ -z $idle ]] || ((late++ >= LATE_CHECKS)); }; then
    conclude again 75 'the job was interrupted and has saved, or a worker was lost'
  elif [[ -z $status$idle ]]; then
    conclude finished 0 'the job is done'
  elif ((option[hang_seconds] && ${idle:-0} >= option[hang_seconds])); then
    conclude again 75 "the job hangs: nothing in its log for $idle s"
  fi
}

# Checks the job repeatedly until there is a verdict.
watch() {
  local lines log unreachable=0 late=0 state
  verdict=''
  while :; do
    if lines=$(script status | grep '^flax_lite-worker '); then
      unreachable=0
      ! log=$(script logs --lines=20 2>/dev/null) || last_lines=$log
      judge "$lines"
      [[ -z $verdict ]] || return 0
    elif ! state=$(queued_state); then
      # No reason to delete the TPU VM.
      info 'gcloud fails, so the state of the job is unknown; trying again'
    elif [[ $state != ACTIVE ]]; then
      conclude unready 75 "the TPU VM was preempted or failed ($state)"
      return
    elif ((++unreachable >= UNREACHABLE_CHECKS)); then
      vm=condemned
      conclude unready 75 'a worker no longer answers'
      return
    fi
    sleep "${option[poll_seconds]}"
  done
}

# Makes sure that the TPU VM is ACTIVE, or sets the verdict and fails.
ensure_vm() {
  local state code=0
  state=$(queued_state) || { conclude unready 1 'gcloud could not tell the state of the TPU VM' && return 1; }
  if [[ $vm == condemned && $state != ABSENT || $state =~ ^(FAILED|SUSPENDING|SUSPENDED|DELETING)$ ]]; then
    script delete --yes || { conclude unready 1 'the TPU VM could not be deleted' && return 1; }
    state=ABSENT
  fi
  [[ $state != ACTIVE ]] || return 0
  vm=unknown
  script create || code=$?
  case $code in
    0) vm=fresh verdict='' ;;
    2 | 75) conclude stop "$code" 'there is no TPU VM' && return 1 ;;
    *) conclude unready 1 'the TPU VM could not be created' && return 1 ;;
  esac
}

# Makes sure that the job is running, or sets the verdict and fails.
ensure_job() {
  local lines
  if [[ $verdict == again ]]; then
    script stop || { vm=condemned && conclude unready 75 'the job could not be stopped' && return 1; }
  else
    if [[ $vm != fresh ]]; then
      lines=$(script status) || { conclude unready 75 'the workers do not answer' && return 1; }
      if grep -qE '^flax_lite-worker .* (running|ending) ' <<<"$lines"; then
        info 'the job is running already'
        vm=ready
        progressed || true
        return
      fi
    fi
    attempt unready 'the workers could not be set up' setup || return
    vm=ready
  fi
  progressed || true
  attempt again 'the job could not be launched' launch -- "${job[@]}"
}

# Runs the script $3 with its arguments. If it fails, sets the verdict $1 with the reason $2 and fails; a usage error
# always stops, because it would recur.
attempt() {
  local code=0
  script "${@:3}" || code=$?
  case $code in
    0) return 0 ;;
    2) conclude stop 2 "$2" ;;
    *) conclude "$1" 1 "$2" ;;
  esac
  return 1
}

# Prints the end of the log before the VM may be lost.
show_log() {
  if [[ $vm == ready && $verdict != unready ]]; then
    script logs --worker=all || true
  elif [[ -n $last_lines ]]; then
    printf '%s\n' 'The log at the last check:' "$last_lines"
  fi
  last_lines=''
}

finish() {
  [[ $verdict == finished ]] || reason="stopped: $reason"
  info "$reason"
  if [[ $verdict == finished && -n ${option[delete_when_done]:-} ]]; then
    script delete --yes
  else
    warn_of_costs
  fi
}

warn_of_costs() {
  info 'the TPU VM may still exist and cost money:' \
    "tpu/delete.sh $(quoted --name "${option[name]}" --zone "${option[zone]}")"
}

pause() {
  local seconds=$((option[pause_seconds] << (restarts < 10 ? restarts : 10)))
  seconds=$((seconds < LONGEST_PAUSE_SECONDS ? seconds : LONGEST_PAUSE_SECONDS))
  info "$reason; newest checkpoint: step $newest; retrying in $seconds s" \
    "(restart $restarts of ${option[max_restarts]} without a newer one)"
  sleep "$seconds"
}

dry_run() {
  script create
  script setup
  case $(workdir_of "${job[@]}") in
    '') ;;
    gs://*) run gcloud storage cat "$(workdir_of "${job[@]}")/summary.json" ;;
    *) worker_script 0 step --workdir "$(workdir_of "${job[@]}")" ;;
  esac
  script launch -- "${job[@]}"
  script stop
  script delete --yes
}

# Keeps out a second supervisor, which would stop and delete what this one starts. Creating a symbolic link is atomic;
# its target is the process id.
lock() {
  local path="${TMPDIR:-/tmp}/flax_lite-${option[name]}.${option[zone]}.lock" holder
  until ln -s "$$" "$path" 2>/dev/null; do
    holder=$(readlink "$path") || fail 1 "$path cannot be created"
    ! kill -0 "$holder" 2>/dev/null ||
      fail 2 "process $holder is already watching ${option[name]}. If that is not a supervisor, remove $path"
    rm -f "$path" # left over from a killed supervisor
  done
  # shellcheck disable=SC2064 # expand $path now: it is local
  trap "$(quoted rm -f "$path")" EXIT
}

interrupted() {
  info 'interrupted. A launched job continues; the same command resumes watching it, tpu/stop.sh stops it'
  warn_of_costs
  exit 130
}

check() {
  local size=${option[accelerator_type]##*-}
  require name zone accelerator_type
  require_count wait_seconds poll_seconds hang_seconds max_restarts pause_seconds
  ((${#job[@]})) || usage_error 'no job: give its command after --'
  check_env_file
  # A TPU VM with up to 8 chips or cores has one worker: v5litepod-8, v6e-8, v5p-8, v4-8.
  [[ ! $size =~ ^[0-9]+$ ]] || require_shared_workdir $((size > 8 ? 2 : 1))
  [[ $(workdir_of "${job[@]}") == gs://* ]] ||
    info 'the job has no --workdir on gs://: its results are lost if the TPU VM is preempted'
  [[ -z ${option[repository]} ]] || { require commit && return; }
  require_history "$here"
  # The current commit, which is used after later preemptions too.
  option[commit]=$(git -C "$here" rev-parse --verify "${option[commit]:-HEAD}^{commit}") ||
    usage_error "--commit ${option[commit]}: there is no such commit here"
}

main() {
  parse "$@"
  check
  if [[ -n ${option[dry_run]} ]]; then
    dry_run
    return
  fi
  lock
  trap interrupted INT
  while :; do
    if ensure_vm && ensure_job; then
      watch
    fi
    [[ $verdict == finished ]] || show_log
    [[ $verdict =~ ^(again|unready)$ ]] || break
    if progressed; then
      restarts=0
    elif ((++restarts > option[max_restarts])); then
      reason="${option[max_restarts]} restarts in a row without a newer checkpoint than step $newest; the last: $reason"
      break
    fi
    pause
  done
  finish
  exit "$ended"
}

main "$@"
