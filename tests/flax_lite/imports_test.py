"""Tests that the library imports lazily, and that models work without optional packages."""

import subprocess
import sys
import textwrap

import pytest

import flax_lite

pytestmark = pytest.mark.compat

OPTIONAL = ("grain", "huggingface_hub", "orbax", "tensorflow", "tensorflow_datasets", "torch", "train", "transformers")


def run(repository, code, *arguments):
    """Runs code in a fresh interpreter in which OPTIONAL fail to import, as if they were not installed."""
    preamble = f"""
        import sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {OPTIONAL!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Absent())
    """
    source = textwrap.dedent(preamble) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_optional_packages_fail_to_import(repository):
    """Otherwise the next test would check nothing."""
    code = f"""
        for name in {OPTIONAL!r}:
            try:
                __import__(name)
            except ModuleNotFoundError:
                print(name)
    """
    assert tuple(run(repository, code).split()) == OPTIONAL


@pytest.mark.parametrize("name", flax_lite.__all__)
def test_public_name_exists(name):
    assert getattr(flax_lite, name) is not None
    assert name in dir(flax_lite)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Bort"):
        _ = flax_lite.Bort


def test_models_run_save_and_load_without_optional_packages(repository, tmp_path):
    """Accesses every public name; builds, runs, saves and loads a model in both formats."""
    code = """
        import numpy as np
        import flax_lite as fl
        from flax import nnx

        assert all(getattr(fl, name) is not None for name in fl.__all__)
        sizes = dict(vocab_size=11, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4)
        config = fl.DistilBertConfig(**sizes)
        model = fl.MaskedLM(config, rngs=nnx.Rngs(0))
        ids = np.ones((1, 3), np.int32)
        for form in ("safetensors", "flax"):
            directory = f"{sys.argv[1]}/{form}"
            model.save_pretrained(directory, format=form)
            again = fl.MaskedLM.from_pretrained(directory)
            np.testing.assert_array_equal(again(ids).logits, model(ids).logits)
        print("ran")
    """
    assert run(repository, code, str(tmp_path)).split()[-1] == "ran"


def test_importing_the_library_imports_no_dependency(repository):
    """Dependencies are imported when a name is first used."""
    code = """
        import flax_lite
        loaded = {name.split(".")[0] for name in sys.modules}
        print(*sorted(loaded & {"jax", "flax", "tokenizers", "safetensors", "numpy"}))
    """
    assert run(repository, code).split() == []
