#!/usr/bin/env bash
# Starts a job on every worker of a TPU VM, detached from this terminal.
#
#   tpu/launch.sh --name albert --zone us-west4-a -- python -m train.pretrain --config configs/albert_base.py \
#     --workdir gs://my-bucket/albert
#
#   --env NAME=VALUE  sets an environment variable of the job; may be repeated. Not for secrets: `ps` shows it
#   --env_file FILE   a file of lines NAME=VALUE, copied to the workers' home directories; for tokens
#   --shared_disk     the job's --workdir is on a disk that all workers mount
#   -- COMMAND ...    the job, run in the checkout with its virtual environment, on every worker
#
# Set unless --env overrides them:
#   JAX_COORDINATOR_PORT=8476  JAX's default since 0.8.1, 8482, is closed by the firewall rule of a TPU pod (jax issue
#                              35905), so that initialize() would hang
#   JAX_PLATFORMS=tpu,cpu      makes a TPU that does not start an error instead of a run on the CPU
#
# The job's output is written to ~/.flax_lite_job/log on each worker (tpu/logs.sh) and its exit status next to it
# (tpu/status.sh). If a job is running already, nothing is started and the exit status is 2.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([env]='' [env_file]='')
switches+=(shared_disk)

# Checks all workers before any of them starts the job, because those that start wait for the others.
check_workers() {
  local lines
  lines=$(refuse_running)
  if [[ -n ${option[dry_run]} ]]; then
    printf '%s\n' "$lines"
  else
    require_shared_workdir "$(grep -c '^flax_lite-worker ' <<<"$lines" || true)"
  fi
}

main() {
  parse "$@"
  require name zone
  ((${#job[@]})) || usage_error 'no job: give its command after --'
  check_env_file
  local setting given=()
  for setting in "${JOB_SETTINGS[@]}"; do
    [[ $'\n'$(printf '%s\n' "${settings[@]}") == *$'\n'"${setting%%=*}="* ]] || given+=(--env "$setting")
  done
  for setting in "${settings[@]}"; do
    given+=(--env "$setting")
  done
  check_workers
  if [[ -n ${option[env_file]} ]]; then
    gcloud_tpus tpu-vm scp "${option[env_file]}" "${option[name]}:$ENV_FILE" --worker=all
    given+=(--env_file "$ENV_FILE")
  fi
  worker_script all start "${given[@]}" -- "${job[@]}" ||
    fail $? 'the job was not started on all workers. tpu/status.sh shows where it runs, tpu/stop.sh stops it'
}

main "$@"
