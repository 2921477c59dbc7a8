#!/usr/bin/env bash
# Prints the end of the job's log on one or all workers, each line prefixed with the worker's name.
#
#   tpu/logs.sh --name albert --zone us-west4-a --follow
#
#   --worker N  a worker's number, or "all" (0)
#   --lines N   the number of lines (40)
#   --follow    keep printing new lines until Ctrl-C
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([worker]=0 [lines]=40)
switches+=(follow)
parse "$@"
require name zone worker
require_count lines
follow=()
[[ -z ${option[follow]:-} ]] || follow=(--follow)
worker_script "${option[worker]}" log --lines "${option[lines]}" "${follow[@]}"
