"""What an export says about itself: how it is run."""

from flax_lite.exporting.tasks import Sizes
from flax_lite.models.tasks import Task

_STABLEHLO = """\
# {title} as a JAX program

Runs on CPU, CUDA and TPU with jax, flatbuffers, numpy and safetensors alone. `export.json` names the inputs, the
outputs and the weights; token ids come from the tokenizer whose files are here.

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

ids = np.ones(({batch}, {length}), np.int32)
inputs = {{"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}}
inputs = {{each["name"]: inputs[each["name"]] for each in about["inputs"]}}
for name, values in run(weights, inputs).items():
    print(name, values.shape)
```
"""

_ONNX = """\
# {title} in ONNX

Runs with onnxruntime, or any other reader of opset 17. Token ids come from the tokenizer whose files are here.

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")

ids = np.ones(({batch}, {length}), np.int64)
inputs = {{"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}}
inputs = {{each.name: inputs[each.name] for each in session.get_inputs()}}
for output, values in zip(session.get_outputs(), session.run(None, inputs)):
    print(output.name, values.shape)
```
"""

_TEXTS = {"stablehlo": _STABLEHLO, "onnx": _ONNX}


def readme(to: str, family: str, task: Task, sizes: Sizes) -> str:
    """The text of README.md beside an export; its code runs in that directory."""
    title = f"{family}, {task.export},"
    return _TEXTS[to].format(title=title, batch=sizes.batch or 2, length=sizes.length or 5)
