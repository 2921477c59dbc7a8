"""The same step in PyTorch: Hugging Face's model with SDPA, compiled, under bfloat16 autocast, with fused AdamW.

It runs in an environment with torch and transformers, which need not have this project's own dependencies. The heads
are given masked positions only, as ours are: Hugging Face's own classes compute words at every position.
"""

# Its libraries are in an environment of their own.
# pyright: reportMissingImports=false, reportMissingModuleSource=false

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.gpu_steps import turns
from benchmarks.gpu_steps.failures import guarded
from train.machine import child_process

# A compiled function may be made again for the second call's gradients; clocks rise.
_WARM_UP = 3
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_NO_DECAY = ("LayerNorm", "layer_norm", "bias")
_LEARNING_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class _Parts:
    """Where a family's class has its parts: the encoder, the head of words, that of sentences."""

    body: str
    words: str
    sentences: str


_PARTS = {
    "albert": _Parts("albert", "predictions", "sop_classifier"),
    "bert": _Parts("bert", "cls.predictions", "cls.seq_relationship"),
}


class PretrainingLoss(torch.nn.Module):
    """Words at masked positions and the sentence task, each averaged over its own elements.

    Args:
        values: the content of a Hugging Face config.json.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        options = {name: value for name, value in values.items() if name != "model_type"}
        config = transformers.AutoConfig.for_model(values["model_type"], **options)
        self.model = transformers.AutoModelForPreTraining.from_config(config, attn_implementation="sdpa")
        parts = _PARTS[values["model_type"]]
        self.body, self.words, self.sentences = (
            self.model.get_submodule(name) for name in (parts.body, parts.words, parts.sentences)
        )

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss, in float32."""
        output = self.body(**{name: batch[name] for name in _INPUTS})
        positions = batch["masked_positions"][:, :, None]
        logits = self.words(torch.take_along_dim(output.last_hidden_state, positions, dim=1)).flatten(0, 1)
        losses = torch.nn.functional.cross_entropy(logits, batch["masked_ids"].flatten(), reduction="none")
        weights = batch["masked_weights"].flatten()
        sentences = torch.nn.functional.cross_entropy(
            self.sentences(output.pooler_output), batch["sentence_label"], reduction="mean"
        )
        return (losses * weights).sum() / weights.sum() + sentences


class Step:
    """An update: forward, backward, clipping, AdamW."""

    def __init__(self, values: Mapping[str, Any], device: str, compiles: bool) -> None:
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("high")  # TF32 where a product is left in float32
        self.device = device
        self.loss = PretrainingLoss(values).to(device=device, dtype=torch.float32).train()
        self.optimizer = torch.optim.AdamW(self._groups(), lr=_LEARNING_RATE, eps=1e-6, fused=True)
        self.function = torch.compile(self.loss, dynamic=False) if compiles else self.loss

    def _groups(self) -> list[dict[str, Any]]:
        decayed: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
        for name, parameter in self.loss.named_parameters():
            decayed[not any(part in name for part in _NO_DECAY)].append(parameter)
        return [{"params": decayed[True], "weight_decay": 0.01}, {"params": decayed[False], "weight_decay": 0.0}]

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> tuple[float, float]:
        """Loss and gradient norm before the update, which is done when they are here."""
        with torch.autocast(self.device, dtype=torch.bfloat16):
            loss = self.function(batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.loss.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return loss.item(), norm.item()


def measure(question: Mapping[str, Any]) -> dict[str, Any]:
    """Compiles a step and, when its turn has come, runs it as often as asked.

    The keys of the answer are the fields of `results.Measurement`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not question["smoke"]:
        raise RuntimeError(f"torch {torch.__version__} finds no GPU")
    with np.load(question["batch"]) as file:
        batch = {name: torch.from_numpy(_widened(array)).to(device) for name, array in file.items()}
    step = Step(question["config"], device, compiles=question["compile"])
    seconds, outcomes = [], []

    def take() -> None:
        start = time.perf_counter()
        outcomes.append(step(batch))
        seconds.append(time.perf_counter() - start)

    _build(take, step)
    turns.wait(question["turn"])
    for _ in range(1 + _WARM_UP + question["steps"] - len(outcomes)):
        take()
    if not all(math.isfinite(number) for outcome in outcomes for number in outcome) or outcomes[0] == outcomes[-1]:
        raise RuntimeError(f"losses and gradient norms are {outcomes[0]} at first, {outcomes[-1]} at last")
    how = "torch.compile" if question["compile"] else "eager"
    return {
        "build_seconds": seconds[0],
        "step_seconds": seconds[1 + _WARM_UP :],
        "loss": outcomes[0][0],
        "grad_norm": outcomes[0][1],
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "settings": f"torch {torch.__version__}, transformers {transformers.__version__}, {how}, SDPA, bfloat16 "
        "autocast, fused AdamW",
    }


def _build(take: Callable[[], None], step: Step) -> None:
    """Takes the step that compiles, and gives memory back; what others hold may be too much for it until its turn."""
    try:
        take()
    except torch.OutOfMemoryError:
        step.optimizer.zero_grad(set_to_none=True)
    if step.device == "cuda":
        torch.cuda.empty_cache()


def _widened(array: np.ndarray) -> np.ndarray:
    """Torch takes indices of 64 bits."""
    return array.astype(np.int64) if array.dtype == np.int32 else array


def main() -> int:
    """Reads a question from standard input and prints what came of it."""
    question = child_process.read_request()
    child_process.write_answer(guarded(lambda: measure(question)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
