"""A fake gcloud with one queued resource, whose workers are local directories.

Its calls are written to `calls`. Commands sent through ssh run on this machine, with the worker's directory as home.

    state          the state of the queued resource; ABSENT at first
    coming.json    a list of states for each future creation, one state per `describe`; then ACTIVE
    broken         while it exists, every `describe` fails as without a network
    silent         while it exists, no worker answers; removed with the node
    interruptible  while it exists, ssh waits for Ctrl-C and then ends with status 1, as gcloud does
    worker-N/      home directories of the workers, created with the node
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_GCLOUD"])
SCRIPTS = Path(__file__).resolve().parents[2] / "tpu"


def read(name, default=""):
    path = ROOT / name
    return path.read_text() if path.exists() else default


def fail(message):
    sys.exit(f"ERROR: (gcloud) {message}")


def create():
    coming = json.loads(read("coming.json", "[]"))
    states = [*coming.pop(0), "ACTIVE"] if coming else ["ACTIVE"]
    (ROOT / "coming.json").write_text(json.dumps(coming))
    (ROOT / "states.json").write_text(json.dumps(states))
    (ROOT / "state").write_text(states[0])
    for number in range(int(read("workers", "1"))):
        (ROOT / f"worker-{number}").mkdir()


def describe():
    if (ROOT / "broken").exists():
        fail("There was a problem refreshing your current auth tokens")
    state = read("state", "ABSENT")
    if state == "ABSENT":
        fail("NOT_FOUND: Resource was not found")
    print(state)
    states = json.loads(read("states.json"))
    if state == states[0] and len(states) > 1 and states[0] not in ("FAILED", "FOREVER"):
        (ROOT / "states.json").write_text(json.dumps(states[1:]))
        (ROOT / "state").write_text(states[1])


def delete():
    (ROOT / "state").write_text("ABSENT")
    (ROOT / "silent").unlink(missing_ok=True)
    for home in ROOT.glob("worker-*"):
        group = home / ".flax_lite_job" / "group"
        if group.exists():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(group.read_text()), signal.SIGKILL)
        shutil.rmtree(home)


def wait_for_interrupt():
    with contextlib.suppress(KeyboardInterrupt):
        (ROOT / "interruptible-call").touch()
        time.sleep(60)
    fail("Aborted by user.")


def ssh(worker, command):
    if (ROOT / "interruptible").exists():
        wait_for_interrupt()
    if read("state") != "ACTIVE" or (ROOT / "silent").exists():
        fail("the node is in state PREEMPTED")
    numbers = range(int(read("workers", "1"))) if worker == "all" else [int(worker)]
    statuses = [on_worker(ROOT / f"worker-{number}", command) for number in numbers]
    sys.exit(next(filter(None, statuses), 0))


def on_worker(home, command):
    if "git init" in command:
        shutil.copytree(SCRIPTS, home / "flax_lite" / "tpu", dirs_exist_ok=True)
        return 0
    if any(part in command for part in ("worker.sh doctor", "worker.sh setup")):
        refused = int(read("refused_setups", "0"))
        (ROOT / "refused_setups").write_text(str(max(0, refused - 1)))
        return 1 if refused else 0
    environment = {name: value for name, value in os.environ.items() if name != "FLAX_LITE_DRY_RUN"}
    done = subprocess.run(["bash", "-c", command], cwd=home, env={**environment, "HOME": str(home)}, check=False)
    return done.returncode


def main(words):
    with (ROOT / "calls").open("a") as file:
        file.write(shlex.join(words) + "\n")
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
    if words[:2] == ["storage", "cat"]:
        path = ROOT / words[2].removeprefix("gs://")
        print(path.read_text() if path.exists() else fail("One or more URLs matched no objects"))
    elif "queued-resources" in words:
        {"create": create, "describe": describe, "delete": delete}[words[words.index("queued-resources") + 1]]()
    elif "ssh" in words:
        ssh(options["worker"], options["command"])
    elif "scp" in words:
        source, (_, target) = words[4], words[5].split(":")
        for home in ROOT.glob("worker-*"):
            shutil.copy(source, home / target)
    else:
        fail(f"unknown: {words}")


if __name__ == "__main__":
    main(sys.argv[1:])
