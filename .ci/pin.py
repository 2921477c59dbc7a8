#!/usr/bin/env python3
"""Rewrites the constraints file of the Python that runs this: `python3.11 .ci/pin.py && python3.13 .ci/pin.py`.

Asks pip which versions an empty environment would get with each extra, and pins all of them. Nothing is installed.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The first resolution that contains a package wins, so that the pins are the versions of the tests: transformers 4.57
# and the older tokenizers it needs on Python 3.11, transformers 5 on newer Pythons.
FIRST = ["transformers>=5,<6", ".[test-tools,lint]"] if sys.version_info >= (3, 12) else [".[test,lint]"]
RESOLUTIONS = (FIRST, [".[tpu]"], [".[cuda]"])


def resolve(requirements: list[str]) -> dict[str, str]:
    """Returns {name: version} of the packages that pip would install into an empty environment."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        "-",
        *requirements,
    ]
    report = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    packages = (item["metadata"] for item in json.loads(report)["install"])
    return {package["name"].lower().replace("_", "-"): package["version"] for package in packages}


def main() -> None:
    """Writes constraints/py311.txt or constraints/py312.txt."""
    pins: dict[str, str] = {}
    for requirements in RESOLUTIONS:
        pins = resolve(requirements) | pins
    del pins["flax-lite"]
    name, pythons = ("py312", "3.12 and 3.13") if sys.version_info >= (3, 12) else ("py311", "3.11")
    lines = [
        f"# Python {pythons}: the versions that CI and tpu/ install. Written by .ci/pin.py.",
        *(f"{k}=={v}" for k, v in sorted(pins.items())),
    ]
    (ROOT / "constraints" / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
