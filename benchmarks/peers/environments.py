"""Python environments of the rivals, made with venv and pip when they are needed."""

import dataclasses
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_STAMP = "installed.txt"


class SetupError(Exception):
    """An environment cannot be made; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Packages that pip installs.

    Attributes:
        requirements: with their dependencies.
        alone: without. KerasHub requires TensorFlow, which only its tokenizers need.
    """

    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()


def environments() -> dict[str, Environment]:
    """Returns the environments by name. JAX and Flax have the running versions, so that compilers are the same."""
    jax, flax, optax = (f"{name}=={metadata.version(name)}" for name in ("jax", "flax", "optax"))
    reader = "safetensors==0.8.0"
    return {
        "hf_flax": Environment(requirements=("transformers==4.57.6", jax, flax, optax, reader)),
        "hf_torch": Environment(requirements=("torch==2.13.0", "transformers==4.57.6", reader)),
        "keras_hub": Environment(
            requirements=("keras==3.15.1", jax, reader, "kagglehub==1.0.3", "tokenizers==0.22.2", "regex"),
            alone=("keras-hub==0.32.0",),
        ),
    }


def python_of(folder: Path, wanted: Environment) -> Path:
    """Returns the interpreter of an environment, which is made unless it has exactly the wanted packages.

    Raises:
        SetupError: if venv or pip fails.
    """
    python, stamp = folder / "bin" / "python", folder / _STAMP
    content = "\n".join((*wanted.requirements, *(f"alone: {one}" for one in wanted.alone), ""))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == content:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making {folder}: {', '.join((*wanted.requirements, *wanted.alone))}", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *wanted.requirements])
    if wanted.alone:
        _run([*pip, "--no-deps", *wanted.alone])
    stamp.write_text(content, encoding="utf-8")
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no message"]
        raise SetupError(f"{' '.join(command[1:4])} ended with {done.returncode}: {errors[0]}")
