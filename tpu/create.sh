#!/usr/bin/env bash
# Asks for a TPU VM as a queued resource and waits until it is ACTIVE.
#
#   tpu/create.sh --name albert --zone us-west4-a --accelerator_type v5litepod-8
#
#   --accelerator_type TYPE    v5litepod-8, v6e-4, v5p-8, v4-8, ...
#   --runtime_version VERSION  the image; chosen by the accelerator where not given
#   --on_demand                not spot: dearer, never preempted
#   --flex_start DURATION      not spot: for this long (4h, at most 7d), never preempted (v5e and v6e; gcloud alpha)
#   --wait_seconds N           how long to wait until it is ACTIVE (86400)
#   --poll_seconds N           between two looks at its state (30)
#   --gcloud_flag FLAG         handed to `gcloud ... create` as it is: --service-account=...; may be given several times
#
# Exit status: 0 ACTIVE, 75 still waiting at the end of that time (the same command goes on), 1 it failed, 2 a mistake.
# A request that exists is not made again, only waited for.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([accelerator_type]='' [runtime_version]='' [flex_start]='' [gcloud_flag]='' [wait_seconds]=86400
  [poll_seconds]=30)
switches+=(on_demand)

# The image that belongs to an accelerator (https://cloud.google.com/tpu/docs/runtimes): with another JAX finds no TPU.
runtime_version() {
  case $1 in
    v6e-*) printf 'v2-alpha-tpuv6e\n' ;;
    v5p-*) printf 'v2-alpha-tpuv5\n' ;;
    v5litepod-*) printf 'v2-alpha-tpuv5-lite\n' ;;
    v2-* | v3-* | v4-*) printf 'tpu-ubuntu2204-base\n' ;;
    v5e-*) mistake "--accelerator_type $1: v5e is called v5litepod-${1#v5e-} here" ;;
    tpu7x-*) mistake "--accelerator_type $1: TPU7x is not offered as a TPU VM, only through GKE and Compute Engine" ;;
    *) mistake "--accelerator_type $1: unknown; give its image with --runtime_version" ;;
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
  mapfile -t where < <(place)
  run gcloud "${track[@]}" compute tpus queued-resources create "${option[name]}" "--node-id=${option[name]}" \
    "${wanted[@]}" "${tier[@]}" "${where[@]}" "${gcloud_flags[@]}"
}

wait_until_active() {
  local state=$1 shown='' began=$SECONDS next
  while :; do
    [[ $state == "$shown" ]] || say "${option[name]} is $state after $((SECONDS - began)) s"
    shown=$state
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING | ABSENT)
        fail 1 "${option[name]} will not become ACTIVE: it is $state. Delete the request and ask again:" \
          "tpu/delete.sh $(quoted --name "${option[name]}" --zone "${option[zone]}")"
        ;;
    esac
    ((SECONDS - began < option[wait_seconds])) ||
      fail 75 "${option[name]} is not ACTIVE after ${option[wait_seconds]} s. It stays in the queue: the same command" \
        "goes on waiting, tpu/delete.sh takes it out"
    sleep "${option[poll_seconds]}"
    if next=$(queued_state); then
      state=$next
    else
      say 'gcloud could not tell the state; asking again'
    fi
  done
}

main() {
  parse "$@"
  require name zone accelerator_type
  ((${#job[@]} == 0)) || mistake "not understood: $(quoted -- "${job[@]}")"
  require_count wait_seconds poll_seconds
  [[ -z ${option[flex_start]} || -z ${option[on_demand]:-} ]] || mistake '--flex_start and --on_demand: give one'
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
