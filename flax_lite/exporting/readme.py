"""The README.md of an export, with code that runs it."""

from flax_lite.exporting.tasks import Sizes
from flax_lite.models.tasks import Task

_STABLEHLO = """\
# {title} as a JAX program

Runs on CPU, CUDA and TPU; it needs only jax, flatbuffers, numpy and safetensors. `export.json` lists the inputs, the
outputs and the weights, and the bounds of open sizes and of ids. Beyond them the program fails with an unclear error or
returns NaN, so `check` a batch before running it. Get token ids from the tokenizer in this directory.

```python
import json
from pathlib import Path

import jax
import numpy as np
from jax import export
from safetensors.numpy import load_file

about = json.loads(Path("export.json").read_text())
program = export.deserialize(bytearray(Path("model.jax_export").read_bytes()))
weights = jax.device_put(load_file("weights.safetensors"))
run = jax.jit(program.call)


def check(inputs):
    for each in about["inputs"]:
        name, values = each["name"], inputs[each["name"]]
        for axis, size, expected in zip(("rows", "tokens in a row"), values.shape, each["shape"]):
            bounds = about["symbols"].get(expected, {{"least": expected, "most": expected}})
            most = bounds.get("most", "any number")
            if size < bounds["least"] or size > bounds.get("most", size):
                raise ValueError(f"{{name}} has {{size}} {{axis}}; the program takes {{bounds['least']}} to {{most}}")
        if values.min() < each["least"] or values.max() > each["most"]:
            expected = f"{{each['least']}} to {{each['most']}}"
            raise ValueError(f"{{name}} holds {{values.min()}} to {{values.max()}}, expected {{expected}}")


ids = np.ones(({batch}, {length}), np.int32)
inputs = {{"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}}
inputs = {{each["name"]: inputs[each["name"]] for each in about["inputs"]}}
check(inputs)
for name, values in run(weights, inputs).items():
    if not np.isfinite(values).all():
        raise ValueError(f"{{name}} has values that are not finite in {{values.dtype}}")
    print(name, values.shape)
```
"""

_ONNX = """\
# {title} in ONNX

Runs with onnxruntime, or any other runtime for opset 17. Get token ids from the tokenizer in this directory.

```python
import json
from pathlib import Path

import numpy as np
import onnxruntime

most = json.loads(Path("config.json").read_text())["max_position_embeddings"]
session = onnxruntime.InferenceSession("model.onnx")

ids = np.ones(({batch}, {length}), np.int64)
if ids.shape[1] > most:
    raise ValueError(f"{{ids.shape[1]}} tokens in a row; the model takes at most {{most}}")
inputs = {{"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}}
inputs = {{each.name: inputs[each.name] for each in session.get_inputs()}}
for output, values in zip(session.get_outputs(), session.run(None, inputs)):
    print(output.name, values.shape)
```
"""

_TEXTS = {"stablehlo": _STABLEHLO, "onnx": _ONNX}


def readme(to: str, family: str, task: Task, sizes: Sizes) -> str:
    """Returns the text of the README.md of an export; its code runs in that directory."""
    title = f"{family}, {task.export},"
    return _TEXTS[to].format(title=title, batch=sizes.batch or 2, length=sizes.length or 5)
