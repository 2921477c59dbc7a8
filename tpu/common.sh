# shellcheck shell=bash
# Functions shared by the scripts of this directory. It is sourced, never run.
#
# A script adds its options with their defaults to `option`, and options without a value to `switches`, then calls
# `parse "$@"`. Its --help is the comment at the top of the file. Exit statuses are those of the jobs: 0 success, 1 a
# failure, 2 a usage error, 75 not finished (the same command continues).

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf '%s needs bash 4.4 or newer, this is %s\n' "$0" "$BASH_VERSION" >&2
  exit 2
fi

# shellcheck disable=SC2016 # the help names the variables
readonly COMMON_OPTIONS='
Common options:
  --name NAME        name of the queued resource and of its node ($TPU_NAME)
  --zone ZONE        its zone ($ZONE)
  --project PROJECT  its project ($PROJECT_ID, else the default of gcloud)
  --directory DIR    the checkout on each worker, relative to the home directory (flax_lite)
  --dry_run          print the commands, one per line, without running them
  --help             print this help'

declare -A option=([name]="${TPU_NAME:-}" [zone]="${ZONE:-}" [project]="${PROJECT_ID:-}" [directory]=flax_lite)
# From the environment, so that a dry run applies to the scripts that a script calls.
option[dry_run]=${FLAX_LITE_DRY_RUN:-}
switches=(dry_run help)
# Environment variables of a job on a TPU VM; tpu/launch.sh --help explains them.
# shellcheck disable=SC2034
readonly JOB_SETTINGS=(JAX_COORDINATOR_PORT=8476 'JAX_PLATFORMS=tpu,cpu')
# The copy of --env_file in the home directory of each worker.
# shellcheck disable=SC2034
readonly ENV_FILE=.flax_lite_env

job=()          # the command after `--`
settings=()     # values of --env
gcloud_flags=() # values of --gcloud_flag

# On Ctrl-C, gcloud ends with its own status, after which bash would continue.
trap 'exit 130' INT

info() {
  printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
}

fail() {
  local status=$1
  shift
  info "$*"
  exit "$status"
}

usage_error() {
  fail 2 "$* (--help lists the options)"
}

# Prints the arguments as one line that a shell parses back into them.
quoted() {
  local word line=()
  for word; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/\'\"\'\"\'}'"
    line+=("$word")
  done
  printf '%s\n' "${line[*]}"
}

# Runs a command, or prints it in a dry run. It gets no standard input, which ssh would consume.
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
          (($# > 1)) || usage_error "$1 needs a value"
          value=$2 && shift
        fi
        shift
        ;;
      *) usage_error "unexpected argument: $1" ;;
    esac
    key=${key#--}
    [[ $key =~ ^[a-z_]+$ ]] || usage_error "unknown option --$key"
    if [[ " ${switches[*]} " == *" $key "* ]]; then
      [[ $value == 1 ]] || usage_error "--$key takes no value"
    elif [[ ! -v option[$key] ]]; then
      usage_error "unknown option --$key"
    elif [[ $key == env ]]; then
      check_setting "--env $value" "$value"
      settings+=("$value")
    elif [[ $key == gcloud_flag ]]; then
      gcloud_flags+=("$value")
    fi
    option[$key]=$value
  done
  export FLAX_LITE_DRY_RUN=${option[dry_run]}
  if [[ -n ${option[help]:-} ]]; then
    help
    exit 0
  fi
}

# Ends with status 2 unless $2 is NAME=VALUE; $1 is its origin, for the message.
check_setting() {
  [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || usage_error "$1: expected NAME=VALUE"
}

# Exports the lines NAME=VALUE of the file $1, except for empty lines and comments (#).
export_settings() {
  local line number=0
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ -n $line && $line != '#'* ]] || continue
    check_setting "$1, line $number" "$line"
    export "${line?}"
  done <"$1"
}

# Ends with status 2 if --env_file is given and cannot be read or is not a list of NAME=VALUE.
check_env_file() {
  [[ -n ${option[env_file]} ]] || return 0
  [[ -r ${option[env_file]} ]] || usage_error "--env_file ${option[env_file]} cannot be read"
  (export_settings "${option[env_file]}")
}

# Ends with status 2 unless each of these options has a value.
require() {
  local key
  for key; do
    [[ -n ${option[$key]:-} ]] || usage_error "--$key is missing"
  done
}

require_count() {
  local key
  for key; do
    [[ ${option[$key]} =~ ^[0-9]+$ ]] || usage_error "--$key=${option[$key]}: expected a whole number"
  done
}

# Prints the gcloud arguments for zone and project, one per line.
location_flags() {
  printf '%s\n' "--zone=${option[zone]}"
  [[ -z ${option[project]} ]] || printf '%s\n' "--project=${option[project]}"
}

gcloud_tpus() {
  local where
  mapfile -t where < <(location_flags)
  run gcloud compute tpus "$@" "${where[@]}"
}

# Runs a shell command line in the home directory of worker $1 (a number, or "all").
# A dead connection, for example to a preempted worker, ends after two minutes instead of hanging.
on_worker() {
  gcloud_tpus tpu-vm ssh "${option[name]}" "--worker=$1" "--command=$2" \
    --ssh-flag='-o ConnectTimeout=30' --ssh-flag='-o ServerAliveInterval=30' --ssh-flag='-o ServerAliveCountMax=4'
}

# Runs tpu/worker.sh with these arguments on worker $1.
worker_script() {
  on_worker "$1" "cd $(quoted "${option[directory]}") && $(quoted tpu/worker.sh "${@:2}")"
}

# Prints a line per worker (see tpu/status.sh); fails if a worker does not answer.
worker_status() {
  local directory
  directory=$(quoted "${option[directory]}")
  on_worker all "if [ -e $directory/tpu/worker.sh ]; then cd $directory && tpu/worker.sh status;\
 else echo flax_lite-worker \$(hostname) none; fi"
}

# Prints the lines of worker_status, or ends with status 2 if a job is running.
refuse_running() {
  local lines
  lines=$(worker_status)
  if [[ -z ${option[dry_run]} ]] && grep -qE '^flax_lite-worker .* (running|ending) ' <<<"$lines"; then
    printf '%s\n' "$lines" >&2
    fail 2 'a job is running there. Wait for it, or stop it with tpu/stop.sh'
  fi
  printf '%s\n' "$lines"
}

# Prints the state of the queued resource, or ABSENT; fails with gcloud's message if gcloud cannot tell.
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

# Ends with status 2 if the clone $1 is shallow: its bundle would lack the commits that it builds on.
require_history() {
  [[ $(git -C "$1" rev-parse --is-shallow-repository) != true ]] ||
    usage_error "$1 is a shallow clone, which cannot be copied: git fetch --unshallow, or give --repository, --commit"
}

# Ends with status 2 if $1 workers cannot share the job's work directory. Worker 0 writes it, all read it.
require_shared_workdir() {
  (($1 > 1)) && [[ -z ${option[shared_disk]:-} && $(workdir_of "${job[@]}") != gs://* ]] || return 0
  usage_error "this TPU VM has several workers: worker 0 writes the work directory, and the others have to read its" \
    'checkpoints. Give the job --workdir gs://BUCKET/PATH, or give --shared_disk if its --workdir is on a disk that' \
    'all of them mount'
}

# Prints the value of --workdir in a job's command, if it has one.
workdir_of() {
  local word previous=''
  for word; do
    [[ $word != --workdir=* ]] || printf '%s\n' "${word#--workdir=}"
    [[ $previous != --workdir ]] || printf '%s\n' "$word"
    previous=$word
  done
}

# Prints the step of the newest checkpoint in the work directory $1; nothing if there is none or it cannot be read.
newest_step_in() {
  {
    case $1 in
      gs://*) gcloud storage cat "${1%/}/summary.json" </dev/null || read_with_gcsfs "${1%/}/summary.json" ;;
      *) cat "$1/summary.json" ;;
    esac | python3 -c 'import json, sys; print(json.load(sys.stdin).get("step", ""))'
  } 2>/dev/null || true
}

# Reads an object without gcloud, for example on a cluster, with the job's own Python.
read_with_gcsfs() {
  python3 -c 'import gcsfs, sys; sys.stdout.buffer.write(gcsfs.GCSFileSystem().cat(sys.argv[1]))' "$1"
}

# Runs the job and returns its status; writes "STATUS SECONDS" (since 1970) to the file $1 when it ends.
# This shell ignores signals to the process group; the job handles them.
run_to_end() {
  local status=0
  trap : TERM HUP
  "${job[@]}" </dev/null || status=$?
  printf '%s %s\n' "$status" "$(date +%s.%3N)" >"$1.new"
  mv "$1.new" "$1"
  return "$status"
}

# Reads the workers' lines and prints the status that explains the failure; nothing if no worker failed.
# A lost worker makes the others fail, so the status is 75. If all have a status, a 75 may mean that another worker was
# lost, so any other failure takes precedence, even a later one. Among several of those, the first to end is the cause:
# the others lost it in a collective, or JAX aborted them.
deciding_status() {
  LC_ALL=C awk '
    $1 == "flax_lite-worker" && $3 ~ /^(lost|none)$/ { print 0, 0, 75 }
    $1 == "flax_lite-worker" && $3 ~ /^(exited|ending)$/ && $4 != 0 { print 1 + ($4 == 75), $5, $4 }
  ' | LC_ALL=C sort -k1,1n -k2,2g | awk 'NR == 1 { print $3 }'
}

# Whether restarting a job that ended with status $1 continues it: it has saved, or a signal killed it.
can_resume() {
  (($1 == 75 || $1 >= 128))
}
