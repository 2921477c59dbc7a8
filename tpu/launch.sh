#!/usr/bin/env bash
# Starts a job on every worker of a TPU VM, detached from this terminal.
#
#   tpu/launch.sh --name albert --zone us-west4-a -- python -m train.pretrain --config configs/albert_base.py \
#     --workdir gs://my-bucket/albert
#
#   --env NAME=VALUE  in the job's environment; may be given several times. Not for secrets: lists of processes show it
#   --env_file FILE   lines NAME=VALUE for the same, copied to the workers' homes: for tokens
#   --shared_disk     the job's --workdir is on a disk that all workers have mounted
#   -- COMMAND ...    the job, run in the checkout with its virtual environment; the same on every worker
#
# Set unless --env says otherwise:
#   JAX_COORDINATOR_PORT=8476  JAX's own default, 8482 since 0.8.1, is not in the firewall rule that comes with a TPU
#                              pod (jax issue 35905): initialize() would hang
#   JAX_PLATFORMS=tpu,cpu      a TPU that does not start is an error instead of a run on the CPU
#
# The job's output goes to ~/.flax_lite_job/log on each worker (tpu/logs.sh), its exit status beside it (tpu/status.sh).
# Where a job is still running nothing is started and the exit status is 2.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([env]='' [env_file]='')
switches+=(shared_disk)

# Before any worker starts: those that did would wait for the others.
look_at_workers() {
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
  ((${#job[@]})) || mistake 'no job: write its command behind --'
  check_env_file
  local setting given=()
  for setting in "${JOB_SETTINGS[@]}"; do
    [[ $'\n'$(printf '%s\n' "${settings[@]}") == *$'\n'"${setting%%=*}="* ]] || given+=(--env "$setting")
  done
  for setting in "${settings[@]}"; do
    given+=(--env "$setting")
  done
  look_at_workers
  if [[ -n ${option[env_file]} ]]; then
    gcloud_tpus tpu-vm scp "${option[env_file]}" "${option[name]}:$ENV_FILE" --worker=all
    given+=(--env_file "$ENV_FILE")
  fi
  worker_script all start "${given[@]}" -- "${job[@]}" ||
    fail $? 'the job was not started, or not everywhere. tpu/status.sh tells where it was, tpu/stop.sh stops it there'
}

main "$@"
