"""PyTorch's worker needs no JAX, and its loss equals that of Hugging Face's own class."""

import ast
import sys

import numpy as np
import pytest

from benchmarks.gpu_steps.cases import SMOKE, Case

LIBRARIES = {"numpy", "torch", "transformers"}
SHARED = ("benchmarks/__init__.py", "benchmarks/gpu_steps/__init__.py", "benchmarks/harness/__init__.py")


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize(
    "name",
    [
        "benchmarks/gpu_steps/torch_worker.py",
        "benchmarks/harness/serving.py",
        *SHARED,
    ],
)
def test_its_imports_exist_in_an_environment_with_torch(repository, name):
    found = set(_imports(repository / name))
    assert {one for one in found if one.split(".")[0] not in sys.stdlib_module_names | LIBRARIES} <= {
        "benchmarks.harness.serving"
    }


@pytest.mark.parametrize("model", ["albert_base", "bert_base"])
def test_the_loss_is_that_of_hugging_faces_class(model):
    torch = pytest.importorskip("torch")
    worker = pytest.importorskip("benchmarks.gpu_steps.torch_worker")
    case = Case(model=model, length=16, rows=4, setting=None)
    values = SMOKE.config(model).to_json_dict()
    batch = {name: torch.from_numpy(worker.to_int64(array)) for name, array in SMOKE.batch(case).items()}
    torch.manual_seed(0)
    loss = worker.PretrainingLoss(values).eval()
    labels = np.full((4, 16), -100)
    for row in range(4):
        weights = batch["masked_weights"][row].numpy() > 0
        labels[row, batch["masked_positions"][row].numpy()[weights]] = batch["masked_ids"][row].numpy()[weights]
    sentences = {"albert": "sentence_order_label", "bert": "next_sentence_label"}[values["model_type"]]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    expected = loss.model(**inputs, labels=torch.from_numpy(labels), **{sentences: batch["sentence_label"]}).loss
    torch.testing.assert_close(loss(batch), expected)
