"""The same step in PyTorch: Hugging Face's model with SDPA, compiled, under bfloat16 autocast, with fused AdamW.

It runs in an environment with torch and transformers, which need not have this project's own dependencies. The heads
see masked positions only, as in flax_lite: Hugging Face's own classes predict every position.
"""

# Its libraries are in their own environment.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from benchmarks.harness.serving import serve

# A compiled function may be compiled again for the second call's gradients; clocks rise.
_WARM_UP = 3
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_NO_DECAY = ("LayerNorm", "layer_norm", "bias")
_LEARNING_RATE = 1e-4


class _Parts(NamedTuple):
    """The attributes of a family's class: the encoder, the masked-word head, the sentence head."""

    body: str
    words: str
    sentences: str


_PARTS = {
    "albert": _Parts("albert", "predictions", "sop_classifier"),
    "bert": _Parts("bert", "cls.predictions", "cls.seq_relationship"),
}


class PretrainingLoss(torch.nn.Module):
    """The loss of words at masked positions plus that of the sentence task, each a mean over its own elements.

    Args:
        values: the content of a Hugging Face config.json.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        options = {name: value for name, value in values.items() if name != "model_type"}
        config = transformers.AutoConfig.for_model(values["model_type"], **options)
        self.model = transformers.AutoModelForPreTraining.from_config(config, attn_implementation="sdpa")
        self.body, self.words, self.sentences = map(self.model.get_submodule, _PARTS[values["model_type"]])

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Returns the loss, in float32."""
        output = self.body(**{name: batch[name] for name in _INPUTS})
        positions = batch["masked_positions"][:, :, None]
        logits = self.words(torch.take_along_dim(output.last_hidden_state, positions, dim=1)).flatten(0, 1)
        losses = torch.nn.functional.cross_entropy(logits, batch["masked_ids"].flatten(), reduction="none")
        weights = batch["masked_weights"].flatten()
        sentences = torch.nn.functional.cross_entropy(self.sentences(output.pooler_output), batch["sentence_label"])
        return (losses * weights).sum() / weights.sum() + sentences


class Step:
    """An update: forward, backward, clipping, AdamW."""

    def __init__(self, values: Mapping[str, Any], device: str, compile_step: bool) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")  # TF32 for products that stay in float32
        self.device = device
        self.loss = PretrainingLoss(values).to(device=device, dtype=torch.float32).train()
        self.optimizer = torch.optim.AdamW(self._groups(), lr=_LEARNING_RATE, eps=1e-6, fused=True)
        self.function = torch.compile(self.loss, dynamic=False) if compile_step else self.loss

    def _groups(self) -> list[dict[str, Any]]:
        decayed: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.loss.named_parameters():
            decayed[not any(part in name for part in _NO_DECAY)].append(parameter)
        return [{"params": decayed[True], "weight_decay": 0.01}, {"params": decayed[False], "weight_decay": 0.0}]

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> tuple[float, float]:
        """Takes an update, waits for it, and returns loss and gradient norm before it."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            loss = self.function(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.loss.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return loss.item(), norm.item()


class _Prepared:
    """The step that this process has compiled."""

    def build(
        self, config: Mapping[str, Any], batch: str, steps: int, smoke: bool, compile_step: bool
    ) -> dict[str, Any]:
        """Takes the step that compiles, and frees its memory for the cases that run before this one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and not smoke:
            raise RuntimeError(f"torch {torch.__version__} finds no GPU")
        with np.load(batch) as file:
            self.batch = {name: torch.from_numpy(to_int64(array)).to(device) for name, array in file.items()}
        self.step = Step(config, device, compile_step)
        self.seconds: list[float] = []
        self.outcomes: list[tuple[float, float]] = []
        self.total = 1 + _WARM_UP + steps
        self.how = "torch.compile" if compile_step else "eager"
        try:
            self._take()
        except torch.OutOfMemoryError:  # other cases may hold the memory that it needs; it is tried again when it runs
            self.step.optimizer.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.empty_cache()
        return {}

    def _take(self) -> None:
        start = time.perf_counter()
        self.outcomes.append(self.step(self.batch))
        self.seconds.append(time.perf_counter() - start)

    def run(self) -> dict[str, Any]:
        """Takes the other steps; the keys of the answer are the fields of `results.Measurement`."""
        for _ in range(self.total - len(self.outcomes)):
            self._take()
        first, last = self.outcomes[0], self.outcomes[-1]
        if not all(math.isfinite(number) for outcome in self.outcomes for number in outcome) or first == last:
            raise RuntimeError(f"losses and gradient norms are {first} at first, {last} at last")
        return {
            "build_seconds": self.seconds[0],
            "step_seconds": self.seconds[1 + _WARM_UP :],
            "loss": first[0],
            "grad_norm": first[1],
            "peak_bytes": torch.cuda.max_memory_allocated() if self.step.device == "cuda" else None,
            "settings": f"torch {torch.__version__}, transformers {transformers.__version__}, {self.how}, SDPA, "
            "bfloat16 autocast, fused AdamW",
        }


def to_int64(array: np.ndarray) -> np.ndarray:
    """Converts int32, because torch indexes with 64 bits."""
    return array.astype(np.int64) if array.dtype == np.int32 else array


if __name__ == "__main__":
    prepared = _Prepared()
    serve({"build": prepared.build, "run": prepared.run})
