#!/usr/bin/env bash
# Starts a job on every worker of a TPU VM, detached from this terminal.
#
#   tpu/launch.sh --name albert --zone us-west4-a -- python -m train.pretrain --config configs/albert_base.py \
#     --workdir gs://my-bucket/albert
#
#   --env NAME=VALUE  in the job's environment; may be given several times
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

option+=([env]='')

# Before any worker starts: those that did would wait for the others.
refuse_second() {
  local lines
  lines=$(worker_script all status)
  if [[ -n ${option[dry_run]} ]]; then
    printf '%s\n' "$lines"
  elif grep -qE '^flax_lite-worker .* (running|ending)' <<<"$lines"; then
    printf '%s\n' "$lines" >&2
    fail 2 'a job is running there. Wait for it, or stop it with tpu/stop.sh'
  fi
}

main() {
  parse "$@"
  require name zone
  ((${#job[@]})) || mistake 'no job: write its command behind --'
  local setting settings=() given
  for setting in "${JOB_SETTINGS[@]}"; do
    grep -q "^${setting%%=*}=" <<<"${option[env]}" || settings+=(--env "$setting")
  done
  mapfile -t given < <(printf '%s' "${option[env]}")
  for setting in "${given[@]}"; do
    [[ $setting =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || mistake "--env $setting: expected NAME=VALUE"
    settings+=(--env "$setting")
  done
  refuse_second
  worker_script all start "${settings[@]}" -- "${job[@]}"
}

main "$@"
