#!/usr/bin/env bash
# Prints a line per worker of a TPU VM with the state of the launched job.
#
#   tpu/status.sh --name albert --zone us-west4-a
#
#   flax_lite-worker NAME none                   no job was launched, or the worker is not set up
#   flax_lite-worker NAME running SECONDS        the job is running; SECONDS since it last wrote to its log
#   flax_lite-worker NAME exited STATUS SECONDS  the job's exit status and the time, in seconds since 1970
#   flax_lite-worker NAME ending STATUS SECONDS  the same, but some of its processes still run (tpu/stop.sh ends them)
#   flax_lite-worker NAME lost                   the job and its shell were killed, or the worker was restarted
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

parse "$@"
require name zone
worker_status
