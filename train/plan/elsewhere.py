"""A question to a process of its own, and its answer: JAX takes one platform in a process, and may hang there."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ANSWER = "answer: "


def ask(
    module: str,
    question: Mapping[str, Any],
    environment: Mapping[str, str],
    limit_seconds: float,
    directory: Path | None = None,
    python: str | None = None,
) -> dict[str, Any] | str:
    """Runs a module with a question on its standard input.

    Args:
        module: its name; it calls `asked` and `answer`.
        question: as JSON.
        environment: the process's.
        limit_seconds: after which it is ended.
        directory: where it runs; this process's own if None.
        python: the interpreter, this process's own if None; one of another environment has to find the module from
            `directory`.

    Returns:
        What it answered, or why it did not.
    """
    try:
        done = subprocess.run(
            [python or sys.executable, "-m", module],
            input=json.dumps(question),
            env=dict(environment),
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {limit_seconds:.0f} s"
    found = [line.removeprefix(_ANSWER) for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
    if done.returncode or not found:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}, no message"]
        return f"failed: {lines[-1]}"
    return json.loads(found[-1])


def asked() -> dict[str, Any]:
    """The question to this process."""
    return json.load(sys.stdin)


def answer(value: Mapping[str, Any]) -> None:
    """Answers it; libraries may print what they like beside."""
    print(_ANSWER + json.dumps(value))
