#!/usr/bin/env bash
# Puts the checkout and its Python environment on every worker of a TPU VM, then examines each with tpu.doctor.
#
#   tpu/setup.sh --name albert --zone us-west4-a
#
#   --repository URL  clone from there on the workers; where not given, this checkout's last commit is copied to them
#   --commit COMMIT   the commit to check out
#   --python VERSION  of the environment (3.12); 3.11 has other pins
#   --workdir DIR     of the jobs to come: the doctor tries to write it; where it is on gs:// the extra gcs is installed
#
# Run again it brings the workers to the commit, installs what changed, and examines them again; not under a job that is
# running: the exit status is 2. What is not committed stays here, so that a run's summary.json names what ran.
set -euo pipefail
# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option+=([repository]='' [commit]='' [python]=3.12 [workdir]='')
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

# Copies the commit, with its history, as one file; prints nothing but what `run` prints.
# Under a name of its own: git keeps a commit that has one, whatever becomes of the branch it was made on.
send_bundle() {
  local bundle="${TMPDIR:-/tmp}/flax_lite-${option[name]}.bundle" reference=$1
  run git -C "$root" update-ref "$reference" "${option[commit]:-HEAD}"
  run git -C "$root" bundle create --quiet "$bundle" "$reference"
  # shellcheck disable=SC2064 # $bundle is gone by then
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
      say 'what is not committed here is not copied'
    send_bundle "$reference"
    # shellcheck disable=SC2016 # the worker's home, not this one's
    check_out '"$HOME"/flax_lite.bundle' "$reference"
  fi
  [[ -z ${option[workdir]} ]] || where=(--workdir "${option[workdir]}")
  worker_script all setup --python "${option[python]}" "${where[@]}"
  worker_script all doctor "${where[@]}"
}

main "$@"
