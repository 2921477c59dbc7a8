# shellcheck shell=bash
# What the scripts of this directory share; sourced, never run.
#
# A script fills `option` with its options and their defaults and `switches` with those that take no value, then calls
# `parse "$@"`. Its help is the comment at its head. Exit statuses are those of the jobs: 0, 2 the user's mistake,
# 1 a failure, 75 for "not finished: the same command goes on".

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf '%s needs bash 4.4 or newer, this is %s\n' "$0" "$BASH_VERSION" >&2
  exit 2
fi

# shellcheck disable=SC2016 # names of variables, for a reader
readonly COMMON_OPTIONS='
Common options:
  --name NAME        of the queued resource and of its node ($TPU_NAME)
  --zone ZONE        where it is ($ZONE)
  --project PROJECT  whose it is ($PROJECT_ID; else the one gcloud is set to)
  --directory DIR    the checkout on each worker, relative to the home there (flax_lite)
  --dry_run          print the commands, one a line, and run nothing
  --help             print this and stop'

declare -A option=([name]="${TPU_NAME:-}" [zone]="${ZONE:-}" [project]="${PROJECT_ID:-}" [directory]=flax_lite)
# In the environment, so that a dry run reaches the scripts that a script calls.
option[dry_run]=${FLAX_LITE_DRY_RUN:-}
switches=(dry_run help)
# What a job on a TPU VM needs in its environment; tpu/launch.sh --help says why.
# shellcheck disable=SC2034
readonly JOB_SETTINGS=(JAX_COORDINATOR_PORT=8476 'JAX_PLATFORMS=tpu,cpu')

# shellcheck disable=SC2034 # what stands behind `--`, for the script
job=()

say() {
  printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
}

fail() {
  local status=$1
  shift
  say "$*"
  exit "$status"
}

mistake() {
  fail 2 "$* (--help lists the options)"
}

# Prints the words as one line that a shell reads back as these words.
quoted() {
  local word line=()
  for word; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/\'\"\'\"\'}'"
    line+=("$word")
  done
  printf '%s\n' "${line[*]}"
}

# Runs a command, or prints it in a dry run. Standard input is kept from it: ssh would read it.
run() {
  if [[ -n ${option[dry_run]} ]]; then
    quoted "$@"
  else
    "$@" </dev/null
  fi
}

help() {
  sed -n '2,/^[^#]/ { /^#SBATCH/d; s/^# \{0,1\}//p; }' "$0"
  [[ ! -v option[zone] ]] || printf '%s\n' "$COMMON_OPTIONS"
}

parse() {
  local key value
  while (($#)); do
    case $1 in
      --)
        # shellcheck disable=SC2034
        job=("${@:2}") && break
        ;;
      --*=*) key=${1%%=*} value=${1#*=} && shift ;;
      --*)
        key=$1 value=1
        if [[ " ${switches[*]} " != *" ${1#--} "* ]]; then
          (($# > 1)) || mistake "$1 needs a value"
          value=$2 && shift
        fi
        shift
        ;;
      *) mistake "not understood: $1" ;;
    esac
    key=${key#--}
    [[ $key =~ ^[a-z_]+$ ]] || mistake "unknown option --$key"
    [[ -v option[$key] || " ${switches[*]} " == *" $key "* ]] || mistake "unknown option --$key"
    [[ $key != env ]] || value="${option[env]}$value"$'\n'
    option[$key]=$value
  done
  export FLAX_LITE_DRY_RUN=${option[dry_run]}
  if [[ -n ${option[help]:-} ]]; then
    help
    exit 0
  fi
}

# Ends with status 2 unless each of these options has a value.
require() {
  local key
  for key; do
    [[ -n ${option[$key]:-} ]] || mistake "--$key is missing"
  done
}

require_count() {
  local key
  for key; do
    [[ ${option[$key]} =~ ^[0-9]+$ ]] || mistake "--$key=${option[$key]}: expected a whole number"
  done
}

# Prints, one a line, the arguments that say which project and zone a gcloud command is about.
place() {
  printf '%s\n' "--zone=${option[zone]}"
  [[ -z ${option[project]} ]] || printf '%s\n' "--project=${option[project]}"
}

gcloud_tpus() {
  local where
  mapfile -t where < <(place)
  run gcloud compute tpus "$@" "${where[@]}"
}

# Runs a shell command line in the home of worker $1 (a number, or "all").
# A connection that is dead, as a preempted worker's, ends after two minutes instead of hanging.
on_worker() {
  gcloud_tpus tpu-vm ssh "${option[name]}" "--worker=$1" "--command=$2" \
    --ssh-flag='-o ConnectTimeout=30' --ssh-flag='-o ServerAliveInterval=30' --ssh-flag='-o ServerAliveCountMax=4'
}

# Runs tpu/worker.sh with these arguments on worker $1.
worker_script() {
  on_worker "$1" "cd $(quoted "${option[directory]}") && $(quoted tpu/worker.sh "${@:2}")"
}

# Prints the state of the queued resource, ABSENT where there is none; fails, with gcloud's words, if gcloud cannot say.
queued_state() {
  local errors state
  errors=$(mktemp)
  if state=$(gcloud_tpus queued-resources describe "${option[name]}" '--format=value(state.state)' 2>"$errors"); then
    printf '%s\n' "$state"
  elif grep -q 'NOT_FOUND' "$errors"; then
    printf 'ABSENT\n'
  else
    cat "$errors" >&2
    rm -f "$errors"
    return 1
  fi
  rm -f "$errors"
}

# Prints what a job's command says behind --workdir; nothing where it does not.
workdir_of() {
  local word previous=''
  for word; do
    [[ $word != --workdir=* ]] || printf '%s\n' "${word#--workdir=}"
    [[ $previous != --workdir ]] || printf '%s\n' "$word"
    previous=$word
  done
}

# Prints the "step" of a summary.json on standard input: the newest checkpoint's; nothing where there is none.
step_of_summary() {
  python3 -c 'import json, sys; print(json.load(sys.stdin).get("step", ""))' 2>/dev/null || true
}
