"""Hugging Face's PyTorch classes (transformers 4.57, SDPA), eager or through torch.compile."""

# Its libraries are in their own environment.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.peers.workers import names
from benchmarks.peers.workers.program import (
    CHECK_STRIDE,
    INPUTS,
    Arrays,
    Case,
    Description,
    Program,
    serve_programs,
    step_seconds,
)

_NO_DECAY = ("LayerNorm", "layer_norm", "bias")


class _TorchProgram(Program):
    timed: str
    model_class: Any = transformers.AutoModel

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.case, self.compiles = case, bool(case["options"].get("compile"))
        self.model = self.model_class.from_pretrained(
            case["model"], attn_implementation="sdpa", dtype=torch.float32, **self.model_options(case)
        )
        wanted = INPUTS[: 2 if self.model.config.model_type == "distilbert" else 3]
        with np.load(case["batch"]) as file:
            self.batch = {name: torch.from_numpy(array.astype(np.int64)) for name, array in file.items()}
        self.inputs = {name: self.batch[name] for name in wanted}
        self.description = Description(timed=self.timed, settings=self.settings(), lacks=self.lacks())

    def model_options(self, case: Case) -> dict[str, Any]:
        return {}

    def settings(self) -> str:
        how = "torch.compile, its default mode" if self.compiles else "eager"
        return (
            f"transformers {transformers.__version__}, torch {torch.__version__}, {how}, "
            f"SDPA, float32, {torch.get_num_threads()} threads"
        )

    def lacks(self) -> tuple[str, ...]:
        return ()

    def compiled(self, function: Any, **options: Any) -> Any:
        return torch.compile(function, **options) if self.compiles else function


class _Forward(_TorchProgram):
    timed = "host tensors to last hidden states, in inference mode"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.function = self.compiled(self.model.eval(), dynamic=False)

    def model_options(self, case: Case) -> dict[str, Any]:
        config = transformers.AutoConfig.from_pretrained(case["model"])
        return {} if config.model_type == "distilbert" else {"add_pooling_layer": False}

    def check(self) -> Arrays:
        return self.step()

    @torch.inference_mode()
    def step(self) -> Arrays:
        return {"hidden": self.function(**self.inputs).last_hidden_state.numpy()}


class _Sentences(_Forward):
    timed = "all pairs one by one; first token's vector on the host"

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        # One program per bucket, as in the other implementations; the default limit is 8.
        torch._dynamo.config.recompile_limit = 64
        self.vectors: Arrays = {}

    def settings(self) -> str:
        lengths = "each row at its own length" if self.case["options"].get("unpadded") else "each padded to its bucket"
        return f"{super().settings()}, {lengths}"

    def check(self) -> Arrays:
        return self.vectors

    @torch.inference_mode()
    def step(self) -> Arrays:
        widths = self.batch["lengths" if self.case["options"].get("unpadded") else "buckets"].tolist()
        rows = []
        for number, width in enumerate(widths):
            inputs = {name: array[number : number + 1, :width] for name, array in self.inputs.items()}
            rows.append(self.function(**inputs).last_hidden_state[:, 0].numpy())
        self.vectors = {"vectors": np.concatenate(rows)}
        return self.vectors


class _TrainingStep(_TorchProgram):
    timed = "one update: forward, backward, AdamW (fused), dropout on"
    model_class = transformers.AutoModelForMaskedLM

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.given = {**self.inputs, "labels": self.batch["labels"]}
        self.start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.reset()

    def reset(self) -> None:
        """Restores the first state, with nothing compiled."""
        torch._dynamo.reset()
        self.model.load_state_dict(self.start)
        self.model.train()
        self.optimizer = torch.optim.AdamW(self._groups(), lr=self.case["learning_rate"], eps=1e-6, fused=True)
        self.function = self.compiled(self.model, dynamic=False)

    def _groups(self) -> list[dict[str, Any]]:
        decayed: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.model.named_parameters():
            decayed[not any(part in name for part in _NO_DECAY)].append(parameter)
        return [{"params": decayed[True], "weight_decay": 0.01}, {"params": decayed[False], "weight_decay": 0.0}]

    def lacks(self) -> tuple[str, ...]:
        lacks = ["head and loss at every position (its classes take no positions)"]
        if self.model.config.model_type == "albert":
            lacks.append("no dropout after the feed-forward layer")
        return tuple(lacks)

    def check(self) -> Arrays:
        rows = {name: tensor[::CHECK_STRIDE].contiguous() for name, tensor in self.given.items()}
        self.model.eval()
        before, gradients = self._update(rows, keep_gradients=True)
        after, _ = self._update(rows)
        self.reset()
        return {"loss": before, "loss_after": after, **gradients}

    def loss(self) -> Arrays:
        """Returns the loss of the first state, without dropout."""
        self.model.load_state_dict(self.start)
        self.model.eval()
        with torch.no_grad():
            loss = self.model(**self.given).loss
        self.model.train()
        return {"loss": loss.numpy()}

    def _update(
        self, batch: Mapping[str, torch.Tensor], keep_gradients: bool = False
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        loss = self.function(**batch).loss
        loss.backward()
        gradients = dict(_gradients(self.model)) if keep_gradients else {}
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach().numpy(), gradients

    def step(self) -> Arrays:
        return {"loss": self._update(self.given)[0]}


class _FirstStep(_TrainingStep):
    timed = "from the start of the process: imports, weights, compilation where there is one, one update"

    def check(self) -> Arrays:
        return self.loss()


class _Compile(_TrainingStep):
    timed = "torch.compile's first training step less a later one, every cache empty"

    def check(self) -> Arrays:
        return self.loss()

    def timed_step(self) -> tuple[float, Arrays]:
        self.reset()
        first, results = super().timed_step()
        return first - super().timed_step()[0], results

    def measure(self) -> dict[str, float]:
        return step_seconds(self.step)


def _gradients(model: torch.nn.Module) -> Iterator[tuple[str, np.ndarray]]:
    found = {name: one.grad.numpy().copy() for name, one in model.named_parameters() if one.grad is not None}
    for name, array in names.without_aliases(found).items():
        yield f"gradient/{name}", array


_PROGRAMS: Mapping[str, Callable[[Case], Program]] = {
    "forward": _Forward,
    "sts": _Sentences,
    "mlm": _TrainingStep,
    "first_step": _FirstStep,
    "compile": _Compile,
}


def _build(case: Case) -> Program:
    torch.set_num_threads(case["threads"])
    # The backward pass too runs in the thread that keeps freed memory.
    torch.autograd.set_multithreading_enabled(False)
    return _PROGRAMS[case["kind"]](case)


if __name__ == "__main__":
    serve_programs(_build)
