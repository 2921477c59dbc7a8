#!/usr/bin/env bash
# Runs a job on a TPU VM to its end, whatever happens to the VM: creates it, sets it up, launches the job and watches;
# after a preemption or a crash it does again what is needed, and the job goes on from its newest checkpoint.
#
#   tpu/watch_and_resume.sh --name albert --zone us-west4-a --accelerator_type v5litepod-8 -- \
#     python -m train.pretrain --config configs/albert_base.py --workdir gs://my-bucket/albert
#
#   --accelerator_type, --runtime_version, --on_demand, --flex_start, --wait_seconds   as tpu/create.sh takes them
#   --repository, --commit, --python                                                as tpu/setup.sh takes them
#   --env NAME=VALUE        as tpu/launch.sh takes it
#   --poll_seconds N        between two looks at the job (60)
#   --max_restarts N        stop after so many restarts in a row without a newer checkpoint (5)
#   --pause_seconds N       before a restart; doubled for each of that row, up to half an hour (30)
#   --delete_when_done      delete the TPU VM when the job is done
#   -- COMMAND ...          the job; give it a --workdir on gs://, because a preempted VM's disks are gone
#
# Of a job that ends, the worker that failed first decides: 2 (the user's mistake) and 1 (a defect, or a run that
# failed) stop this script with that status and the end of the log; 75 (interrupted and saved), a signal (128 and above)
# and a lost worker restart the job. Exit status: 0 done, else the job's, 75 where no TPU came in time.
# Ended and started again it takes up a job that still runs.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tpu/common.sh
source "$here/common.sh"

option+=([accelerator_type]='' [runtime_version]='' [flex_start]='' [wait_seconds]=86400 [repository]='' [commit]=''
  [python]=3.12 [env]='' [poll_seconds]=60 [max_restarts]=5 [pause_seconds]=30)
switches+=(on_demand delete_when_done)
# Half an hour: longer than a short outage of gcloud, short against what a job of days loses by it.
readonly LONGEST_PAUSE_SECONDS=1800
# gcloud itself tries an ssh connection ten times (googlecloudsdk/command_lib/compute/tpus/tpu_vm/ssh.py).
readonly SILENT_LOOKS=3

newest=0   # step of the newest checkpoint seen
restarts=0 # in a row without a newer one
# What became of the last attempt: finished; stop; again (launch it there again); gone (the TPU VM is lost); unready
# (there is none yet, or no checkout on it). On the way to the next: fresh (the TPU VM was just created).
verdict=''
reason='' # in words
ended=1   # the exit status that goes with it

# The options that each script takes from this one, beside the common ones.
declare -A takes=(
  [create]='accelerator_type runtime_version flex_start wait_seconds on_demand'
  [setup]='repository commit python'
)

# Runs another script of this directory with the options that it takes, and more arguments.
script() {
  local name=$1 key given=() settings
  for key in name zone project directory ${takes[$name]:-}; do
    [[ -n ${option[$key]:-} ]] || continue
    case $key in
      on_demand) given+=(--on_demand) ;;
      *) given+=("--$key=${option[$key]}") ;;
    esac
  done
  if [[ $name == launch ]]; then
    mapfile -t settings < <(printf '%s' "${option[env]}")
    given+=("${settings[@]/#/--env=}")
  fi
  "$here/$name.sh" "${given[@]}" "${@:2}" </dev/null
}

# Prints the step of the newest checkpoint, nothing where it cannot be read.
newest_step() {
  local workdir
  workdir=$(workdir_of "${job[@]}")
  case $workdir in
    '') ;;
    gs://*)
      if [[ -n ${option[dry_run]} ]]; then
        run gcloud storage cat "${workdir%/}/summary.json"
      else
        run gcloud storage cat "${workdir%/}/summary.json" 2>/dev/null | step_of_summary
      fi
      ;;
    *)
      if [[ -n ${option[dry_run]} ]]; then
        worker_script 0 step --workdir "$workdir"
      else
        worker_script 0 step --workdir "$workdir" 2>/dev/null | sed -n 's/^flax_lite-step //p' || true
      fi
      ;;
  esac
}

# Whether there is a newer checkpoint than at the last call.
progressed() {
  local step
  step=$(newest_step || true)
  [[ $step =~ ^[0-9]+$ ]] && ((step > newest)) || return 1
  newest=$step
}

conclude() {
  verdict=$1 ended=$2 reason=$3
}

# Concludes from the workers' lines: of those that failed, the first to end is the cause, the others the consequence.
judge() {
  local first status
  if grep -qE '^flax_lite-worker .* (lost|none)$' <<<"$1"; then
    conclude again 75 'a worker was lost'
    return
  fi
  first=$(awk '/ (exited|ending) / && $(NF-1) != 0 { print $NF, $(NF-1) }' <<<"$1" | sort -g | head -1)
  status=${first#* }
  if [[ -n $status ]]; then
    case $status in
      75) conclude again 75 'the job was interrupted and has saved' ;;
      12[89] | 1[3-9]? | 2??) conclude again "$status" "the job died of signal $((status - 128))" ;;
      *) conclude stop "$status" "the job ended with status $status" ;;
    esac
  elif ! grep -q ' running$' <<<"$1"; then
    conclude finished 0 'the job is done'
  fi
}

# Looks at the job until something has become of it.
watch() {
  local lines silent=0 state
  verdict=''
  while :; do
    if lines=$(script status) && [[ $lines == *flax_lite-worker* ]]; then
      silent=0
      judge "$lines"
      [[ -z $verdict ]] || return 0
    else
      silent=$((silent + 1))
      state=$(queued_state) || state=ACTIVE # gcloud itself fails: nothing is known of the job
      if [[ $state != ACTIVE ]]; then
        conclude gone 75 "the TPU VM was preempted or failed ($state)"
        return
      fi
      ((silent < SILENT_LOOKS)) || { conclude gone 75 'a worker does not answer any more' && return; }
    fi
    sleep "${option[poll_seconds]}"
  done
}

# Has a TPU VM that is ACTIVE, or concludes why not and fails.
ensure_node() {
  local state code=0
  state=$(queued_state) || { conclude unready 1 'gcloud could not tell the state of the TPU VM' && return 1; }
  if [[ $verdict == gone && $state != ABSENT || $state =~ ^(FAILED|SUSPENDING|SUSPENDED|DELETING)$ ]]; then
    script delete --yes || { conclude gone 1 'the TPU VM could not be deleted' && return 1; }
    state=ABSENT
  fi
  [[ $state != ACTIVE ]] || return 0
  script create || code=$?
  case $code in
    0) verdict=fresh ;;
    2 | 75) conclude stop "$code" 'there is no TPU VM' && return 1 ;;
    *) conclude unready "$code" 'the TPU VM could not be created' && return 1 ;;
  esac
}

# Has the job running there, or concludes why not and fails.
ensure_job() {
  if [[ $verdict == again ]]; then
    script stop || { conclude gone 75 'what is left of the job could not be stopped' && return 1; }
  elif [[ $verdict != fresh ]] && script status | grep -q ' running$'; then
    say 'the job is running already'
    progressed || true
    return
  else
    script setup || { conclude unready $? 'the workers could not be set up' && return 1; }
  fi
  progressed || true
  script launch -- "${job[@]}" || { conclude again $? 'the job could not be launched' && return 1; }
}

finish() {
  if [[ $verdict == finished ]]; then
    say "$reason"
    if [[ -n ${option[delete_when_done]:-} ]]; then
      script delete --yes
      return
    fi
  else
    script logs --worker=all || true
    say "stopped: $reason"
  fi
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
  newest_step
  script launch -- "${job[@]}"
  script stop
  script delete --yes
}

main() {
  parse "$@"
  require name zone accelerator_type
  require_count wait_seconds poll_seconds max_restarts pause_seconds
  ((${#job[@]})) || mistake 'no job: write its command behind --'
  [[ $(workdir_of "${job[@]}") == gs://* ]] ||
    say 'the job has no --workdir on gs://: a preempted TPU VM takes what it has done with it'
  # The commit of now, also after a preemption next week.
  [[ -n ${option[repository]}${option[commit]} ]] || option[commit]=$(git -C "$here" rev-parse HEAD)
  if [[ -n ${option[dry_run]} ]]; then
    dry_run
    return
  fi
  while :; do
    if ensure_node && ensure_job; then
      watch
    fi
    [[ $verdict =~ ^(again|gone|unready)$ ]] || break
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
