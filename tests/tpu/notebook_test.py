"""The notebook runs top to bottom with its smoke switch, is short, and is saved without outputs."""

import json
import sys
import types

from tests.conftest import REPOSITORY

NOTEBOOK = json.loads((REPOSITORY / "tpu" / "colab_finetune.ipynb").read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_notebook_is_short_and_holds_no_outputs():
    assert NOTEBOOK["nbformat"] == 4
    assert len(NOTEBOOK["cells"]) <= 10
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert "Not run" in "".join(NOTEBOOK["cells"][0]["source"])


def shorten(config):
    """Uses one device, and shortens compilation and training further than the smoke switch."""
    config["mesh"]["data"], config["execution"]["unroll"] = 1, 1
    config["total_steps"], config["log_every_steps"], config["evaluations"] = 2, 1, 1
    config["data"]["max_train_examples"] = 32


def test_notebook_runs_top_to_bottom(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAX_LITE_SMOKE", "1")
    # Fakes the notebook's IPython only in the cell that imports it, because other libraries look for IPython too.
    front, shown = types.ModuleType("IPython.display"), []
    front.Image, front.display = lambda filename: filename, shown.append
    names = {"__name__": "__main__"}
    for cell in CODE:
        if "finetune.run" in cell:
            shorten(names["config"])
        with monkeypatch.context() as patch:
            if "IPython" in cell:
                patch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
                patch.setitem(sys.modules, "IPython.display", front)
            exec(compile(cell, "cell", "exec"), names)
    printed = capsys.readouterr().out
    assert "JAX" in printed
    assert "No accelerator: this runs on the CPU" in printed
    assert "runs/colab/loss.png" in shown
    assert "'label': " in printed
    assert (tmp_path / "my-model.zip").is_file()
    assert (tmp_path / "runs" / "colab" / "model" / "model.safetensors").is_file()
