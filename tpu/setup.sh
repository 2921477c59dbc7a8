#!/usr/bin/env bash
# Installs the checkout and its Python environment on every worker of a TPU VM, then checks each with tpu.doctor.
#
#   tpu/setup.sh --name albert --zone us-west4-a
#
#   --repository URL  the repository that the workers clone (default: this checkout's last commit is copied to them)
#   --commit COMMIT   the commit to check out
#   --python VERSION  Python version of the environment (3.12); 3.11 uses other constraints
#   --workdir DIR     work directory of the jobs: the doctor checks it, and the extra gcs is installed if it is on gs://
#
# Run again, the script updates the workers to the commit, installs changed packages and repeats the checks. If a job is
# running, the exit status is 2. Uncommitted changes are not copied, so that the commit in summary.json is what ran.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([repository]='' [commit]='' [python]=3.12 [workdir]='')
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

# Copies the commit with its history as a git bundle; prints only what `run` prints.
# The commit gets its own reference, so that git keeps it even if its branch is rewritten.
send_bundle() {
  local bundle="${TMPDIR:-/tmp}/flax_lite-${option[name]}.bundle" reference=$1
  run git -C "$root" update-ref "$reference" "${option[commit]:-HEAD}"
  run git -C "$root" bundle create --quiet "$bundle" "$reference"
  # shellcheck disable=SC2064 # expand $bundle now: it is local
  [[ -n ${option[dry_run]} ]] || trap "$(quoted rm -f "$bundle")" EXIT
  gcloud_tpus tpu-vm scp "$bundle" "${option[name]}:flax_lite.bundle" --worker=all
}

# Fetches $2 of the repository $1 on every worker, and checks it out.
check_out() {
  local directory source=$1 fetched=$2
  directory=$(quoted "${option[directory]}")
  on_worker all "git init --quiet $directory && git -C $directory fetch --quiet $source $(quoted "$fetched") &&\
 git -C $directory checkout --quiet --detach FETCH_HEAD"
}

main() {
  parse "$@"
  require name zone python
  local reference="refs/flax_lite/${option[name]}" where=() lines
  [[ -z ${option[repository]} ]] || require commit
  [[ -n ${option[repository]} ]] || require_history "$root"
  lines=$(refuse_running)
  [[ -z ${option[dry_run]} ]] || printf '%s\n' "$lines"
  if [[ -n ${option[repository]} ]]; then
    check_out "$(quoted "${option[repository]}")" "${option[commit]}"
  else
    [[ -n ${option[dry_run]} || -z $(git -C "$root" status --porcelain) ]] ||
      info 'uncommitted changes are not copied'
    send_bundle "$reference"
    # shellcheck disable=SC2016 # expanded on the worker
    check_out '"$HOME"/flax_lite.bundle' "$reference"
  fi
  [[ -z ${option[workdir]} ]] || where=(--workdir "${option[workdir]}")
  worker_script all setup --python "${option[python]}" "${where[@]}"
  worker_script all doctor "${where[@]}"
}

main "$@"
