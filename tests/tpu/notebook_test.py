"""The notebook: runs top to bottom with its smoke switch, is short, and was saved without outputs."""

import json
import os
import subprocess
import sys

from tests.conftest import REPOSITORY

NOTEBOOK = json.loads((REPOSITORY / "tpu" / "colab_finetune.ipynb").read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

# What a notebook's front end brings along, once nothing looks any more for what else it has.
DISPLAY = """
shown = []


def pretend():
    import sys, types

    module = types.ModuleType("IPython.display")
    module.Image, module.display = lambda filename: filename, shown.append
    sys.modules["IPython"], sys.modules["IPython.display"] = types.ModuleType("IPython"), module
"""


def test_notebook_is_short_and_holds_no_outputs():
    assert NOTEBOOK["nbformat"] == 4
    assert len(NOTEBOOK["cells"]) <= 10
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert "Not run" in "".join(NOTEBOOK["cells"][0]["source"])


def test_notebook_runs_top_to_bottom(tmp_path):
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    cells = [f"pretend()\n{cell}" if "IPython" in cell else cell for cell in CODE]
    script = "\n".join([DISPLAY, *cells, "print('shown:', *shown)"])
    environment = {**os.environ, "FLAX_LITE_SMOKE": "1", "PYTHONPATH": str(REPOSITORY), "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "JAX" in done.stdout
    assert "No accelerator: this runs on the CPU" in done.stdout
    assert "shown: runs/colab/loss.png" in done.stdout
    assert "'label': " in done.stdout
    assert (tmp_path / "my-model.zip").is_file()
    assert (tmp_path / "runs" / "colab" / "model" / "model.safetensors").is_file()
