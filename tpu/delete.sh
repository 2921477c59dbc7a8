#!/usr/bin/env bash
# Deletes a queued resource with its TPU VM and the VM's disks.
#
#   tpu/delete.sh --name albert --zone us-west4-a
#
#   --yes  do not ask for confirmation
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

switches+=(yes)

confirm() {
  local answer=''
  [[ -t 0 ]] || usage_error 'no terminal to ask for confirmation: give --yes to delete'
  read -r -p "Delete ${option[name]} in ${option[zone]} and everything on its disks? [y/N] " answer
  [[ $answer == [yY]* ]] || fail 1 'nothing deleted'
}

main() {
  parse "$@"
  require name zone
  [[ -n ${option[yes]:-} || -n ${option[dry_run]} ]] || confirm
  # --force deletes the node too; without it only a SUSPENDED or FAILED request can be deleted.
  gcloud_tpus queued-resources delete "${option[name]}" --force --quiet
}

main "$@"
