#!/usr/bin/env bash
# Asks the job on every worker of a TPU VM to save and stop, and kills remaining processes after a timeout.
#
#   tpu/stop.sh --name albert --zone us-west4-a
#
#   --seconds N  the timeout (120)
#
# If tpu/watch_and_resume.sh is watching the job, end that first, or it restarts the job.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([seconds]=120)
parse "$@"
require name zone
require_count seconds
worker_script all stop --seconds "${option[seconds]}"
