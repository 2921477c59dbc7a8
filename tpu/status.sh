#!/usr/bin/env bash
# Prints a line for each worker of a TPU VM: what became of the job that was launched there.
#
#   tpu/status.sh --name albert --zone us-west4-a
#
#   flax_lite-worker NAME none                   nothing was launched, or nothing is set up
#   flax_lite-worker NAME running SECONDS        and for how long it has not written to its log
#   flax_lite-worker NAME exited STATUS SECONDS  its exit status, and when, in seconds since 1970
#   flax_lite-worker NAME ending STATUS SECONDS  the same, but processes of it still run (tpu/stop.sh ends them)
#   flax_lite-worker NAME lost                   it was killed with all around it, or the worker was restarted
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
require name zone
worker_status
