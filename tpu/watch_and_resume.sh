#!/usr/bin/env bash
# Runs a job on a TPU VM to its end, whatever happens to the VM: creates it, sets it up, launches the job and watches;
# after a preemption or a crash it does again what is needed, and the job goes on from its newest checkpoint.
#
#   tpu/watch_and_resume.sh --name albert --zone us-west4-a --accelerator_type v5litepod-8 -- \
#     python -m train.pretrain --config configs/albert_base.py --workdir gs://my-bucket/albert
#
#   as for tpu/create.sh    --accelerator_type --runtime_version --on_demand --flex_start --wait_seconds --gcloud_flag
#   as for tpu/setup.sh     --repository --commit --python
#   as for tpu/launch.sh    --env --env_file --shared_disk
#   --poll_seconds N        between two looks at the job (60)
#   --hang_seconds N        restart a job that has written nothing to its log for so long (7200; 0: never)
#   --max_restarts N        stop after so many restarts in a row without a newer checkpoint (5)
#   --pause_seconds N       before a restart; doubled for each of that row, up to half an hour (30)
#   --delete_when_done      delete the TPU VM when the job is done
#   -- COMMAND ...          the job; give it a --workdir on gs://, because a preempted VM's disks are gone
#
# What a job's end means: 2 (the user's mistake) and 1 (a defect, or a run that failed) on any worker stop this script
# with that status and the end of the log; 75 (saved, or another worker was lost), a signal (128 and above) before
# those, and a lost worker restart the job. Exit status: 0 done, else the job's, 75 where no TPU came in time.
# Ended with Ctrl-C and started again it takes up a job that still runs.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tpu/common.sh
source "$here/common.sh"

option+=([accelerator_type]='' [runtime_version]='' [flex_start]='' [wait_seconds]=86400 [gcloud_flag]=''
  [repository]='' [commit]='' [python]=3.12 [env]='' [env_file]='' [poll_seconds]=60 [hang_seconds]=7200
  [max_restarts]=5 [pause_seconds]=30)
switches+=(on_demand shared_disk delete_when_done)
# Half an hour: longer than a short outage of gcloud, short against what a job of days loses by it.
readonly LONGEST_PAUSE_SECONDS=1800
# gcloud itself tries an ssh connection ten times (googlecloudsdk/command_lib/compute/tpus/tpu_vm/ssh.py).
readonly SILENT_LOOKS=3
# Two minutes by default: a worker whose neighbor has died learns of it from JAX's heartbeat after 100 s.
readonly LATE_LOOKS=2

newest=0   # step of the newest checkpoint seen
restarts=0 # in a row without a newer one
vm=unknown # fresh: just created, nothing is on it; ready: set up; condemned: to be deleted
last_lines='' # of worker 0's log, as long as there was one to read
# What became of the last attempt: finished; stop; again (launch it there again); unready (no TPU VM, or none that is
# set up).
verdict=''
reason='' # in words
ended=1   # the exit status that goes with it

# The options that each script takes from this one, beside the common ones.
declare -A takes=(
  [create]='accelerator_type runtime_version flex_start wait_seconds on_demand'
  [setup]='repository commit python'
  [launch]='env_file shared_disk'
)

# Runs another script of this directory with the options that it takes, and more arguments.
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
  # Ctrl-C reaches both. Should bash have missed it while it started the other, it goes on as if gcloud had failed.
  ((status != 130)) || kill -INT $$
  return "$status"
}

# Prints the step of the newest checkpoint, nothing where it cannot be read.
newest_step() {
  local workdir
  workdir=$(workdir_of "${job[@]}")
  case $workdir in
    '') ;;
    gs://*) newest_step_in "$workdir" ;;
    *) worker_script 0 step --workdir "$workdir" 2>/dev/null | sed -n 's/^flax_lite-step //p' || true ;;
  esac
}

# Whether there is a newer checkpoint than at the last call.
progressed() {
  local step
  step=$(newest_step)
  [[ $step =~ ^[0-9]+$ ]] && ((step > newest)) || return 1
  newest=$step
}

conclude() {
  verdict=$1 ended=$2 reason=$3
}

# Concludes from the workers' lines, if they allow it.
judge() {
  local status silent
  status=$(deciding_status <<<"$1")
  silent=$(awk '$3 == "running" { print $4 }' <<<"$1" | sort -n | awk 'NR == 1')
  if grep -qE ' (lost|none)$' <<<"$1"; then
    conclude again 75 'a worker was lost'
  elif [[ -n $status && $status != 75 ]] && goes_on "$status"; then
    conclude again "$status" "the job died of signal $((status - 128))"
  elif [[ -n $status && $status != 75 ]]; then
    conclude stop "$status" "the job ended with status $status"
  elif [[ $status == 75 ]] && { [[ -z $silent ]] || ((late++ >= LATE_LOOKS)); }; then
    conclude again 75 'the job was interrupted and has saved, or a worker was lost'
  elif [[ -z $status$silent ]]; then
    conclude finished 0 'the job is done'
  elif ((option[hang_seconds] && ${silent:-0} >= option[hang_seconds])); then
    conclude again 75 "the job hangs: nothing in its log for $silent s"
  fi
}

# Looks at the job until something has become of it.
watch() {
  local lines log silent=0 late=0 state
  verdict=''
  while :; do
    if lines=$(script status | grep '^flax_lite-worker '); then
      silent=0
      ! log=$(script logs --lines=20 2>/dev/null) || last_lines=$log
      judge "$lines"
      [[ -z $verdict ]] || return 0
    elif ! state=$(queued_state); then
      say 'gcloud fails, so nothing is known of the job; looking again' # no reason to delete a TPU VM
    elif [[ $state != ACTIVE ]]; then
      conclude unready 75 "the TPU VM was preempted or failed ($state)"
      return
    elif ((++silent >= SILENT_LOOKS)); then
      vm=condemned
      conclude unready 75 'a worker does not answer any more'
      return
    fi
    sleep "${option[poll_seconds]}"
  done
}

# Has a TPU VM that is ACTIVE, or concludes why not and fails.
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

# Has the job running there, or concludes why not and fails.
ensure_job() {
  local lines
  if [[ $verdict == again ]]; then
    script stop || { vm=condemned && conclude unready 75 'what is left of the job could not be stopped' && return 1; }
  else
    if [[ $vm != fresh ]]; then
      lines=$(script status) || { conclude unready 75 'the workers do not answer' && return 1; }
      if grep -qE '^flax_lite-worker .* (running|ending) ' <<<"$lines"; then
        say 'the job is running already'
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

# Runs the script $3 ...; where it fails concludes $1, for the reason $2, and fails. A mistake would be one again.
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

# Shows the end of the log before it is out of reach.
show_log() {
  if [[ $vm == ready && $verdict != unready ]]; then
    script logs --worker=all || true
  elif [[ -n $last_lines ]]; then
    printf '%s\n' 'The last that was seen of the log:' "$last_lines"
  fi
  last_lines=''
}

finish() {
  [[ $verdict == finished ]] || reason="stopped: $reason"
  say "$reason"
  if [[ $verdict == finished && -n ${option[delete_when_done]:-} ]]; then
    script delete --yes
  else
    warn_of_costs
  fi
}

warn_of_costs() {
  say 'the TPU VM may still be there, and costs money:' \
    "tpu/delete.sh $(quoted --name "${option[name]}" --zone "${option[zone]}")"
}

pause() {
  local seconds=$((option[pause_seconds] << (restarts < 10 ? restarts : 10)))
  seconds=$((seconds < LONGEST_PAUSE_SECONDS ? seconds : LONGEST_PAUSE_SECONDS))
  say "$reason; newest checkpoint: step $newest; going on in $seconds s (restart $restarts of ${option[max_restarts]}" \
    "without a newer one)"
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

# Two of these would stop and delete what the other one starts. A symbolic link is made or is there, and holds a number.
lock() {
  local path="${TMPDIR:-/tmp}/flax_lite-${option[name]}.${option[zone]}.lock" holder
  until ln -s "$$" "$path" 2>/dev/null; do
    holder=$(readlink "$path") || fail 1 "$path cannot be made"
    ! kill -0 "$holder" 2>/dev/null ||
      fail 2 "process $holder does this already for ${option[name]}. If it is another one, remove $path"
    rm -f "$path" # left over by one that was killed
  done
  # shellcheck disable=SC2064 # $path is gone by then
  trap "$(quoted rm -f "$path")" EXIT
}

interrupted() {
  say 'interrupted. A job that was launched goes on; the same command takes it up again, tpu/stop.sh stops it'
  warn_of_costs
  exit 130
}

check() {
  local size=${option[accelerator_type]##*-}
  require name zone accelerator_type
  require_count wait_seconds poll_seconds hang_seconds max_restarts pause_seconds
  ((${#job[@]})) || mistake 'no job: write its command behind --'
  check_env_file
  # Up to 8, of chips or cores, is one worker: v5litepod-8, v6e-8, v5p-8, v4-8.
  [[ ! $size =~ ^[0-9]+$ ]] || require_shared_workdir $((size > 8 ? 2 : 1))
  [[ $(workdir_of "${job[@]}") == gs://* ]] ||
    say 'the job has no --workdir on gs://: a preempted TPU VM takes what it has done with it'
  [[ -z ${option[repository]} ]] || { require commit && return; }
  require_history "$here"
  # The commit of now, also after a preemption next week.
  option[commit]=$(git -C "$here" rev-parse --verify "${option[commit]:-HEAD}^{commit}") ||
    mistake "--commit ${option[commit]}: there is no such commit here"
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
