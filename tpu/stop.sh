#!/usr/bin/env bash
# Asks the job on every worker of a TPU VM to save and stop, and kills what is left of it after a while.
#
#   tpu/stop.sh --name albert --zone us-west4-a
#
#   --seconds N  how long it may take to save (120)
#
# A tpu/watch_and_resume.sh that watches it starts it again: end that first.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([seconds]=120)
parse "$@"
require name zone
require_count seconds
worker_script all stop --seconds "${option[seconds]}"
