"""Parity with Hugging Face's PyTorch classes of transformers 4 and 5, through checkpoints, in both directions.

PyTorch is no dependency: without it these tests are skipped.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flax_lite.architecture.config import EncoderConfig
from tests.flax_lite import switches, tiny
from tests.flax_lite.reference import ENDINGS, inputs_for, named_outputs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

VERSION = int(transformers.__version__.partition(".")[0])
TOLERANCE = 1e-5  # small random models in float32, as in parity_test.py
_PREFIXES = {"albert": "Albert", "bert": "Bert", "distilbert": "DistilBert"}


@dataclasses.dataclass(frozen=True)
class TorchReference:
    """A Hugging Face PyTorch class, as a function from a directory to outputs under the library's names."""

    head: str
    config: EncoderConfig

    @functools.cached_property
    def model_class(self) -> Any:
        return getattr(transformers, f"{_PREFIXES[self.config.model_type]}{ENDINGS[self.head]}")

    def save_random(self, directory: Path) -> None:
        """Saves a model of the class with all parameters different from their initial values; see `tiny.make`."""
        model = self.model_class(self.model_class.config_class.from_dict(self.config.to_json_dict()))
        random = np.random.default_rng(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not parameter.requires_grad:
                    continue  # sinusoidal positions
                norm = "norm" in name.lower() and name.endswith("weight")
                deviation = 0.1 if norm or name.endswith("bias") else 0.2
                values = random.normal(1.0 if norm else 0.0, deviation, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(values.astype(np.float32)))
        model.save_pretrained(directory, safe_serialization=True)

    def __call__(self, directory: Path, inputs: Mapping[str, jax.Array]) -> dict[str, Any]:
        """Runs the class on a directory, in which it must find all its parameters and nothing else."""
        model, info = self.model_class.from_pretrained(
            directory, output_loading_info=True, attn_implementation="eager", dtype=torch.float32
        )
        reports = {name: list(found) for name, found in info.items() if found}
        assert not reports, reports
        tensors = {name: torch.from_numpy(np.array(value)).long() for name, value in inputs.items()}
        if self.config.model_type == "distilbert":
            tensors.pop("token_type_ids", None)
        with torch.no_grad():
            outputs = model.eval()(**tensors, output_hidden_states=True, output_attentions=True)
        present = {name: value for name, value in outputs.items() if len(value)}  # 5: cross_attentions=()
        arrays = {name: jax.tree.map(lambda value: value.numpy(), value) for name, value in present.items()}
        found = named_outputs(arrays)
        # transformers 5 returns hidden states of the layers inside an ALBERT group too.
        found["hidden_states"] = found["hidden_states"][:: 1 if VERSION == 4 else self.config.inner_group_num]
        return found


def check_both_directions(head: str, config: EncoderConfig, directory: Path) -> None:
    if VERSION == 4 and config.inner_group_num > config.num_hidden_layers / config.num_hidden_groups:
        pytest.skip("transformers 4's PyTorch ALBERT gives such a group too short a head_mask, and fails")
    reference, inputs = TorchReference(head, config), inputs_for(head, config)
    reference.save_random(directory / "hf")
    model = tiny.make(head, config)
    model.save_pretrained(directory / "flax_lite")
    for source in ("hf", "flax_lite"):
        loaded = tiny.MODELS[head].from_pretrained(directory / source)
        outputs = tiny.call(loaded, **inputs, output_hidden_states=True, output_attentions=True)
        expected, actual = reference(directory / source, inputs), named_outputs(vars(outputs))
        assert expected.keys() == actual.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=0, atol=TOLERANCE, err_msg=f"{source}: {name}")


@pytest.mark.parametrize(("family", "head", "changes"), switches.PAIRS)
def test_heads_and_switches_equal_torch(family: str, head: str, changes: dict[str, Any], tmp_path: Path) -> None:
    check_both_directions(head, tiny.FAMILIES[family](**changes), tmp_path)


@pytest.mark.slow  # compiles hundreds of programs, for combinations of the switches above
@pytest.mark.parametrize(
    ("family", "head", "changes"), [case for family in tiny.FAMILIES for case in switches.every_pair(family)]
)
def test_every_pair_of_switches_equals_torch(family: str, head: str, changes: dict[str, Any], tmp_path: Path) -> None:
    check_both_directions(head, tiny.FAMILIES[family](**changes), tmp_path)


def test_torch_reports_fail(tmp_path: Path) -> None:
    """The check for reports of the torch class must be able to fail: a masked LM has no pooler for an encoder."""
    config = tiny.bert()
    tiny.make("MaskedLM", config).save_pretrained(tmp_path)
    with pytest.raises(AssertionError, match="missing_keys"):
        TorchReference("Encoder", config)(tmp_path, inputs_for("Encoder", config))
