#!/usr/bin/env bash
# Requests a TPU VM as a queued resource and waits until it is ACTIVE.
#
#   tpu/create.sh --name albert --zone us-west4-a --accelerator_type v5litepod-8
#
#   --accelerator_type TYPE    v5litepod-8, v6e-4, v5p-8, v4-8, ...
#   --runtime_version VERSION  the VM image (default: the one for the accelerator)
#   --on_demand                on-demand instead of spot: more expensive, never preempted
#   --flex_start DURATION      flex-start instead of spot: never preempted, ends after DURATION (4h, at most 7d; v5e and
#                              v6e; gcloud alpha)
#   --wait_seconds N           how long to wait until it is ACTIVE (86400)
#   --poll_seconds N           interval between checks of its state (30)
#   --gcloud_flag FLAG         passed on to `gcloud ... create`, for example --service-account=...; may be repeated
#
# Exit status: 0 ACTIVE, 1 failed, 2 usage error, 75 still waiting after --wait_seconds (the same command continues).
# If the request exists already, the script only waits for it.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([accelerator_type]='' [runtime_version]='' [flex_start]='' [gcloud_flag]='' [wait_seconds]=86400
  [poll_seconds]=30)
switches+=(on_demand)

# Prints the image for an accelerator (https://cloud.google.com/tpu/docs/runtimes); with another image JAX finds no TPU.
runtime_version() {
  case $1 in
    v6e-*) printf 'v2-alpha-tpuv6e\n' ;;
    v5p-*) printf 'v2-alpha-tpuv5\n' ;;
    v5litepod-*) printf 'v2-alpha-tpuv5-lite\n' ;;
    v2-* | v3-* | v4-*) printf 'tpu-ubuntu2204-base\n' ;;
    v5e-*) usage_error "--accelerator_type $1: the name of v5e is v5litepod-${1#v5e-}" ;;
    tpu7x-*) usage_error "--accelerator_type $1: TPU7x is available only through GKE and Compute Engine" ;;
    *) usage_error "--accelerator_type $1: unknown; give the image with --runtime_version" ;;
  esac
}

create() {
  local tier=() track=() wanted=("--accelerator-type=${option[accelerator_type]}" "--runtime-version=$1") where
  if [[ -n ${option[flex_start]} ]]; then
    track=(alpha) # 2026-11: the stable track has no --provisioning-model
    tier=(--provisioning-model=flex-start "--max-run-duration=${option[flex_start]}")
  elif [[ -z ${option[on_demand]:-} ]]; then
    tier=(--spot)
  fi
  mapfile -t where < <(location_flags)
  run gcloud "${track[@]}" compute tpus queued-resources create "${option[name]}" "--node-id=${option[name]}" \
    "${wanted[@]}" "${tier[@]}" "${where[@]}" "${gcloud_flags[@]}"
}

wait_until_active() {
  local state=$1 shown='' started=$SECONDS next
  while :; do
    [[ $state == "$shown" ]] || info "${option[name]} is $state after $((SECONDS - started)) s"
    shown=$state
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING | ABSENT)
        fail 1 "${option[name]} will not become ACTIVE: it is $state. Delete the request and repeat it:" \
          "tpu/delete.sh $(quoted --name "${option[name]}" --zone "${option[zone]}")"
        ;;
    esac
    ((SECONDS - started < option[wait_seconds])) ||
      fail 75 "${option[name]} is not ACTIVE after ${option[wait_seconds]} s. It stays in the queue: the same command" \
        "continues waiting, tpu/delete.sh removes it"
    sleep "${option[poll_seconds]}"
    if next=$(queued_state); then
      state=$next
    else
      info 'gcloud could not tell the state; trying again'
    fi
  done
}

main() {
  parse "$@"
  require name zone accelerator_type
  ((${#job[@]} == 0)) || usage_error "unexpected arguments: $(quoted -- "${job[@]}")"
  require_count wait_seconds poll_seconds
  [[ -z ${option[flex_start]} || -z ${option[on_demand]:-} ]] || usage_error '--flex_start and --on_demand: give one'
  local version state
  version=${option[runtime_version]:-$(runtime_version "${option[accelerator_type]}")}
  if [[ -n ${option[dry_run]} ]]; then
    create "$version"
    queued_state
    return
  fi
  state=$(queued_state)
  if [[ $state == ABSENT ]]; then
    create "$version"
    state=$(queued_state)
  fi
  wait_until_active "$state"
}

main "$@"
