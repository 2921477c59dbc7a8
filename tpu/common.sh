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
# Where --env_file goes, in the home of each worker.
# shellcheck disable=SC2034
readonly ENV_FILE=.flax_lite_env

job=()          # what stands behind `--`
settings=()     # what --env was given
gcloud_flags=() # what --gcloud_flag was given

# gcloud answers Ctrl-C itself and ends with a status of its own, after which bash would go on.
trap 'exit 130' INT

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
    if [[ " ${switches[*]} " == *" $key "* ]]; then
      [[ $value == 1 ]] || mistake "--$key takes no value"
    elif [[ ! -v option[$key] ]]; then
      mistake "unknown option --$key"
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

# Ends with status 2 unless $2 is NAME=VALUE; $1 says where it stands.
check_setting() {
  [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || mistake "$1: expected NAME=VALUE"
}

# Exports the lines NAME=VALUE of the file $1; empty lines and those that begin with # are left out.
export_settings() {
  local line number=0
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ -n $line && $line != '#'* ]] || continue
    check_setting "$1, line $number" "$line"
    export "${line?}"
  done <"$1"
}

# Ends with status 2 unless the file of --env_file, if one is given, can be read and holds settings.
check_env_file() {
  [[ -n ${option[env_file]} ]] || return 0
  [[ -r ${option[env_file]} ]] || mistake "--env_file ${option[env_file]} cannot be read"
  (export_settings "${option[env_file]}")
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

# Prints a line for each worker (tpu/status.sh); fails if one does not answer.
worker_status() {
  local directory
  directory=$(quoted "${option[directory]}")
  on_worker all "if [ -e $directory/tpu/worker.sh ]; then cd $directory && tpu/worker.sh status;\
 else echo flax_lite-worker \$(hostname) none; fi"
}

# Prints the lines of worker_status on standard output, or ends with status 2 where a job is running.
refuse_running() {
  local lines
  lines=$(worker_status)
  if [[ -z ${option[dry_run]} ]] && grep -qE '^flax_lite-worker .* (running|ending) ' <<<"$lines"; then
    printf '%s\n' "$lines" >&2
    fail 2 'a job is running there. Wait for it, or stop it with tpu/stop.sh'
  fi
  printf '%s\n' "$lines"
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

# Ends with status 2 if the clone $1 cannot be copied from: a bundle of a shallow one lacks what it builds on.
require_history() {
  [[ $(git -C "$1" rev-parse --is-shallow-repository) != true ]] ||
    mistake "$1 is a shallow clone, which cannot be copied: git fetch --unshallow, or give --repository and --commit"
}

# Ends with status 2 if the job's work directory cannot be one for $1 workers. One of them writes it, all read it.
require_shared_workdir() {
  (($1 > 1)) && [[ -z ${option[shared_disk]:-} && $(workdir_of "${job[@]}") != gs://* ]] || return 0
  mistake "this TPU VM has several workers: worker 0 writes the work directory, and the others have to read its" \
    'checkpoints. Give the job --workdir gs://BUCKET/PATH, or say --shared_disk if its --workdir is on a disk that' \
    'all of them have mounted'
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

# Prints the step of the newest checkpoint in the work directory $1; nothing where there is none or it cannot be read.
newest_step_in() {
  {
    case $1 in
      gs://*) gcloud storage cat "${1%/}/summary.json" </dev/null || read_with_gcsfs "${1%/}/summary.json" ;;
      *) cat "$1/summary.json" ;;
    esac | python3 -c 'import json, sys; print(json.load(sys.stdin).get("step", ""))'
  } 2>/dev/null || true
}

# Where there is no gcloud, as on the nodes of a cluster: with what the job's own environment has.
read_with_gcsfs() {
  python3 -c 'import gcsfs, sys; sys.stdout.buffer.write(gcsfs.GCSFileSystem().cat(sys.argv[1]))' "$1"
}

# Runs the job, and writes to the file $1 how it ended, "STATUS SECONDS since 1970"; returns the status.
# A signal to the process group is the job's to answer, not this shell's.
run_to_end() {
  local status=0
  trap : TERM HUP
  "${job[@]}" </dev/null || status=$?
  printf '%s %s\n' "$status" "$(date +%s.%3N)" >"$1.new"
  mv "$1.new" "$1"
  return "$status"
}

# Prints the status that decides, of the workers' lines on standard input; nothing where none has failed.
# One that is lost took the others with it: 75. Where all have a status, 75 may say that another worker was lost, so any
# other failure explains it, also one that was written down later. Of the rest the first to end is the cause: a
# collective fails, or JAX aborts, where a neighbor is gone.
deciding_status() {
  LC_ALL=C awk '
    $1 == "flax_lite-worker" && $3 ~ /^(lost|none)$/ { print 0, 0, 75 }
    $1 == "flax_lite-worker" && $3 ~ /^(exited|ending)$/ && $4 != 0 { print 1 + ($4 == 75), $5, $4 }
  ' | LC_ALL=C sort -k1,1n -k2,2g | awk 'NR == 1 { print $3 }'
}

# Whether a job that ended with status $1 goes on when it is started again: it has saved, or died of a signal.
goes_on() {
  (($1 == 75 || $1 >= 128))
}
