"""The exact commands that the scripts print in a dry run."""

import shlex

from tests.conftest import REPOSITORY

WHERE = ("--name", "albert", "--zone", "us-west4-a")
SSH = (
    "gcloud compute tpus tpu-vm ssh albert --worker={worker} {command} '--ssh-flag=-o ConnectTimeout=30'"
    " '--ssh-flag=-o ServerAliveInterval=30' '--ssh-flag=-o ServerAliveCountMax=4' --zone=us-west4-a"
)
DESCRIBE = "gcloud compute tpus queued-resources describe albert '--format=value(state.state)' --zone=us-west4-a"
DELETE = "gcloud compute tpus queued-resources delete albert --force --quiet --zone=us-west4-a"
CREATE_LINE = (
    "gcloud compute tpus queued-resources create albert --node-id=albert --accelerator-type={type}"
    " --runtime-version={image}{tier} --zone=us-west4-a"
)


def ssh(command, worker="all"):
    return SSH.format(worker=worker, command=shlex.quote(f"--command={command}"))


def setup_lines(folder, commit="HEAD", workdir=""):
    bundle = f"{folder}/flax_lite-albert.bundle"
    where = f" --workdir {workdir}" if workdir else ""
    return [
        STATUS,
        f"git -C {REPOSITORY} update-ref refs/flax_lite/albert {commit}",
        f"git -C {REPOSITORY} bundle create --quiet {bundle} refs/flax_lite/albert",
        f"gcloud compute tpus tpu-vm scp {bundle} albert:flax_lite.bundle --worker=all --zone=us-west4-a",
        ssh(
            'git init --quiet flax_lite && git -C flax_lite fetch --quiet "$HOME"/flax_lite.bundle'
            " refs/flax_lite/albert && git -C flax_lite checkout --quiet --detach FETCH_HEAD"
        ),
        ssh(f"cd flax_lite && tpu/worker.sh setup --python 3.12{where}"),
        ssh(f"cd flax_lite && tpu/worker.sh doctor{where}"),
    ]


STATUS = ssh(
    "if [ -e flax_lite/tpu/worker.sh ]; then cd flax_lite && tpu/worker.sh status;"
    " else echo flax_lite-worker $(hostname) none; fi"
)
STOP = ssh("cd flax_lite && tpu/worker.sh stop --seconds 120")
SETTINGS = "--env JAX_COORDINATOR_PORT=8476 --env JAX_PLATFORMS=tpu,cpu"
