#!/usr/bin/env bash
# Puts the checkout and its Python environment on every worker of a TPU VM, then examines each with tpu.doctor.
#
#   tpu/setup.sh --name albert --zone us-west4-a
#
#   --repository URL  clone from there on the workers; where not given, this checkout's last commit is copied to them
#   --commit COMMIT   the commit to check out; of this checkout's it has to be in the history of the last one
#   --python VERSION  of the environment (3.12); 3.11 has other pins
#
# Run again it brings the workers to the commit, installs what changed, and examines them again. What is not committed
# stays here, so that a run's summary.json names what ran.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([repository]='' [commit]='' [python]=3.12)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

# Copies the last commit, with its history, as one file; prints nothing but what `run` prints.
send_bundle() {
  local bundle="${TMPDIR:-/tmp}/flax_lite-${option[name]}.bundle"
  run git -C "$root" bundle create --quiet "$bundle" HEAD
  gcloud_tpus tpu-vm scp "$bundle" "${option[name]}:flax_lite.bundle" --worker=all
  run rm -f "$bundle"
}

# Fetches $2 of the repository $1 on every worker, and checks $3 of it out.
check_out() {
  local directory source=$1 fetched=$2 wanted=$3
  directory=$(quoted "${option[directory]}")
  on_worker all "git init --quiet $directory && git -C $directory fetch --quiet $source $(quoted "$fetched") &&\
 git -C $directory checkout --quiet --detach $(quoted "$wanted")"
}

main() {
  parse "$@"
  require name zone python
  [[ -z ${option[repository]} ]] || require commit
  if [[ -n ${option[repository]} ]]; then
    check_out "$(quoted "${option[repository]}")" "${option[commit]}" FETCH_HEAD
  else
    [[ -n ${option[dry_run]} || -z $(git -C "$root" status --porcelain) ]] ||
      say 'what is not committed here is not copied'
    send_bundle
    # shellcheck disable=SC2016 # the worker's home, not this one's
    check_out '"$HOME"/flax_lite.bundle' HEAD "${option[commit]:-FETCH_HEAD}"
  fi
  worker_script all setup --python "${option[python]}"
  worker_script all doctor
}

main "$@"
