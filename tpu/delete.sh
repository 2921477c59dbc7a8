#!/usr/bin/env bash
# Deletes a queued resource with its TPU VM and what is on the VM's disks.
#
#   tpu/delete.sh --name albert --zone us-west4-a
#
#   --yes  do not ask
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

switches+=(yes)

confirm() {
  local answer=''
  [[ -t 0 ]] || mistake 'nobody to ask: give --yes to delete'
  read -r -p "Delete ${option[name]} in ${option[zone]} with all that is on its disks? [y/N] " answer
  [[ $answer == [yY]* ]] || fail 1 'nothing deleted'
}

main() {
  parse "$@"
  require name zone
  [[ -n ${option[yes]:-} || -n ${option[dry_run]} ]] || confirm
  # --force: the node goes with the request; without it only a SUSPENDED or FAILED request can be deleted.
  gcloud_tpus queued-resources delete "${option[name]}" --force --quiet
}

main "$@"
