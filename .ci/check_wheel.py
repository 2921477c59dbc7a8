"""Checks the contents of a wheel: flax_lite with its type marker, the license, and nothing else of the checkout.

Usage: check_wheel.py WHEEL, in an environment with the dependencies.
"""

import re
import subprocess
import sys
import zipfile

REQUIRED = ("flax_lite/__init__.py", "flax_lite/models/encoder.py", "flax_lite/py.typed")
ALLOWED = re.compile(r"flax_lite/[\w/]+\.py|flax_lite/py\.typed|flax_lite-[\w.]+\.dist-info/.+")
IMPORT = "import sys; sys.path.insert(0, sys.argv[1]); import flax_lite; flax_lite.Encoder; print(flax_lite.__file__)"


def main(wheel: str) -> None:
    """Exits with a message if the wheel is wrong."""
    names = zipfile.ZipFile(wheel).namelist()
    unexpected = [name for name in names if not ALLOWED.fullmatch(name)]
    missing = [name for name in REQUIRED if name not in names]
    if not any(name.endswith("/LICENSE") for name in names):
        missing.append("LICENSE")
    if unexpected or missing:
        sys.exit(f"{wheel}: unexpected files {unexpected}; missing files {missing}")
    imported = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT, wheel], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    if not imported.startswith(wheel):
        sys.exit(f"the import came from {imported}, not from {wheel}")
    print(f"{wheel.rsplit('/')[-1]}: {len(names)} files, imports")


if __name__ == "__main__":
    main(sys.argv[1])
