"""The measurements of one encoder. Every result is copied to the host, checked and compared before a time is reported.

Inference takes `flax_lite.layers.unstacked.for_inference` of a model with random weights; all measurements take
`Execution(dtype="auto", unroll="auto")`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np
from flax import nnx

import flax_lite as fl
from benchmarks.harness.batches import tapered_batch
from benchmarks.harness.sentences import LONGEST, random_rows, real_rows
from benchmarks.harness.timing import repeated, timed
from benchmarks.study.memory import peak_memory
from flax_lite.layers.unstacked import for_inference
from flax_lite.models.flops import encoder_flops
from flax_lite.models.params import abstract_params, num_parameters
from flax_lite.training.objective import masked_lm_objective
from flax_lite.training.optim import make_optimizer
from flax_lite.training.steps import init_state, make_train_step

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# Hidden states are about 1 after LayerNorm. Chosen, not measured: well above a few roundings of each dtype (2^-24,
# 2^-9, 2^-12); the tolerance of float32 is below the effect of an ignored mask in the tests.
_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
_LIMIT_SECONDS = 20.0  # of the repeats of one shape
_WARM_PASSES = 3
_SMOKE_PAIRS_LONGEST = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of all measurements.

    Attributes:
        lengths: T of single rows.
        batch_lengths: T of batches.
        batch: B of batches.
        train_length: T of training.
        repeats: runs after the first, at most.
        pairs: rows of the STS-B pass; 0 for all.
        data: directory with STS-B and tokenizers; without it, random ids of the same lengths.
        smoke: tiny models.
    """

    lengths: Sequence[int] = (32, 128, 512)
    batch_lengths: Sequence[int] = (128, 512)
    batch: int = 8
    train_length: int = 128
    repeats: int = 10
    pairs: int = 200
    data: str | None = None
    smoke: bool = False

    def summary(self) -> dict[str, Any]:
        """Returns the settings as circumstances: figures under other settings are not comparable."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return found | {"data": "STS-B" if self.data else "random ids"}


def size(config: fl.EncoderConfig, settings: Settings) -> dict[str, Any]:
    """Counts parameters, in total and by part, and FLOPs per token for each length; computes nothing."""
    encoder = abstract_params(lambda: fl.Encoder(config, rngs=nnx.Rngs(0)))
    bare = abstract_params(lambda: fl.Encoder(config, rngs=nnx.Rngs(0), add_pooler=False))
    whole = abstract_params(lambda: fl.MaskedLM(config, rngs=nnx.Rngs(0)))
    return {
        "parameters": num_parameters(encoder),
        "parts": {name.replace("layers", "layer"): num_parameters(tree) for name, tree in encoder.items()}
        | {"masked_lm_head": num_parameters(whole) - num_parameters(bare)},
        "flops_per_token": {str(length): encoder_flops(config, length) for length in settings.lengths},
    }


def disk(config: fl.EncoderConfig, _: Settings) -> dict[str, Any]:
    """Returns the bytes of the masked-LM model's safetensors file, the form in which models are published."""
    model = fl.MaskedLM(config, rngs=nnx.Rngs(0))
    with TemporaryDirectory(prefix="study-") as folder:
        model.save_pretrained(folder)
        return {"bytes": sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))}


def latency(config: fl.EncoderConfig, settings: Settings) -> dict[str, Any]:
    """Times one row of each length without padding, until its hidden states are on the host.

    Raises:
        RuntimeError: if the results show that the work was not done.
    """
    encoder = Forward(config)
    shortest = max(1, settings.lengths[0] // 2)  # not timed; the shortest length is compared with it
    rows = {length: _rows(config, 1, length) for length in (shortest, *settings.lengths)}
    seconds = {str(length): encoder.seconds(rows[length], settings.repeats) for length in settings.lengths}
    for short, long in itertools.pairwise(rows):
        encoder.check_padding(rows[short][0], long)
    return {"execution": encoder.execution, "seconds": seconds}


def throughput(config: fl.EncoderConfig, settings: Settings) -> dict[str, Any]:
    """Times a batch of rows of T to T / 4 tokens, padded to T, and counts its tokens without padding.

    Raises:
        RuntimeError: as `latency`.
    """
    encoder = Forward(config)
    seconds, tokens = {}, {}
    for length in settings.batch_lengths:
        batches = _rows(config, settings.batch, length)
        seconds[str(length)] = encoder.seconds(batches, settings.repeats)
        tokens[str(length)] = int(batches[0]["attention_mask"].sum())
        encoder.check_padding({name: array[-1:, : length // 4] for name, array in batches[0].items()}, length)
    return {"execution": encoder.execution, "batch": settings.batch, "seconds": seconds, "tokens": tokens}


def training(config: fl.EncoderConfig, settings: Settings) -> dict[str, Any]:
    """Times a masked-LM step with AdamW and the config's dropout, and counts the batch's tokens without padding.

    Raises:
        RuntimeError: if the losses or the step's number show that a step was left out.
    """
    trainer = Trainer(config, settings)
    trainer.step()
    seconds = repeated(trainer.step, settings.repeats, _LIMIT_SECONDS)
    trainer.check()
    return {"execution": trainer.execution, "seconds": seconds, "tokens": trainer.tokens, "losses": trainer.losses}


def inference_memory(config: fl.EncoderConfig, settings: Settings) -> dict[str, Any]:
    """Measures the peak memory of forward passes over a batch, weights included."""
    encoder = Forward(config)
    (batch, _) = _rows(config, settings.batch, settings.train_length)
    return {"bytes": peak_memory(lambda: encoder(batch))}


def training_memory(config: fl.EncoderConfig, settings: Settings) -> dict[str, Any]:
    """Measures the peak memory of training steps, parameters and moments included."""
    trainer = Trainer(config, settings)
    peak = peak_memory(trainer.step)
    trainer.check()
    return {"bytes": peak}


def sts_pass(config: fl.EncoderConfig, settings: Settings, tokenizer: str) -> dict[str, Any]:
    """Times a regression head that scores pairs one at a time, each padded to its bucket.

    Cold: the first pass of the process, with the compilation of every bucket; warm: the passes after it.

    Raises:
        RuntimeError: if scores are not finite, all equal, or different from pass to pass.
    """
    longest = _SMOKE_PAIRS_LONGEST if settings.smoke else LONGEST
    if settings.data:
        rows = real_rows(Path(settings.data), tokenizer, settings.pairs)
    else:
        rows = random_rows(config.vocab_size, settings.pairs or 1500, longest)
    scorer = Scorer(_regression(config))
    cold, scores = timed(lambda: scorer(rows))
    seconds = []
    for _ in range(min(settings.repeats, _WARM_PASSES)):
        warm, again = timed(lambda: scorer(rows))
        _check_equal("a pass over the same pairs", scores, again, scorer.tolerance)
        seconds.append(warm)
    if not np.ptp(scores) > 0:
        raise RuntimeError("every pair got the same score")
    buckets, counts = np.unique(rows["buckets"], return_counts=True)
    text = "STS-B dev" if settings.data else "random ids"
    found = {"pairs": len(scores), "text": text, "buckets": dict(zip(map(str, buckets), counts.tolist(), strict=True))}
    return {"cold": cold, "warm": seconds, **found}


class Forward:
    """An encoder that is compiled once for each shape."""

    def __init__(self, config: fl.EncoderConfig) -> None:
        self.model = for_inference(fl.Encoder(config, rngs=nnx.Rngs(0), execution=_execution()))
        self.tolerance = _TOLERANCES[self.model.execution.dtype]
        self._run = jax.jit(lambda model, *inputs: model(*inputs).last_hidden_state)

    def __call__(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns hidden states [B, T, D] on the host."""
        return np.asarray(self._run(self.model, *(batch[name] for name in _INPUTS)), np.float32)

    @property
    def execution(self) -> str:
        """The execution that "auto" resolved to."""
        separate = isinstance(getattr(self.model, "layers", None), nnx.List)
        return _describe(self.model.config, self.model.execution, separate=separate)

    def seconds(self, batches: Sequence[Mapping[str, np.ndarray]], repeats: int) -> list[float]:
        """Times the runs after the first of each batch; batches alternate, so no result can be the previous run's."""
        first = [self(batch) for batch in batches]
        if np.array_equal(first[0][:, 0], first[1][:, 0]):
            raise RuntimeError("other words gave the same states")
        turns = itertools.cycle(zip(batches, first, strict=True))

        def once() -> float:
            batch, expected = next(turns)
            seconds, states = timed(lambda: self(batch))
            _check_equal("the same batch", expected, states, self.tolerance)
            return seconds

        return repeated(once, repeats, _LIMIT_SECONDS)

    def check_padding(self, row: Mapping[str, np.ndarray], length: int) -> None:
        """Raises RuntimeError unless padding a row to `length` leaves its states unchanged."""
        tokens = row["input_ids"].shape[1]
        padded = {name: np.pad(array, ((0, 0), (0, length - tokens))) for name, array in row.items()}
        _check_equal(f"{tokens} tokens padded to {length}", self(row), self(padded)[:, :tokens], self.tolerance)


class Trainer:
    """A masked-LM model in training."""

    def __init__(self, config: fl.EncoderConfig, settings: Settings) -> None:
        def create() -> fl.MaskedLM:
            return fl.MaskedLM(config, rngs=nnx.Rngs(0), execution=_execution())

        optimizer = make_optimizer("adamw", learning_rate=1e-4, total_steps=1000)
        abstract = nnx.eval_shape(create)
        self.execution = _describe(config, abstract.execution)
        step = make_train_step(nnx.graphdef(abstract), masked_lm_objective(), optimizer, seed=0)
        self._step = jax.jit(step, donate_argnums=0)
        self._state = init_state(create(), optimizer)
        self._batch = tapered_batch(config.vocab_size, settings.batch, settings.train_length)
        self.tokens = int(self._batch["attention_mask"].sum())
        self.losses: list[float] = []

    def step(self) -> float:
        """Returns the seconds until a step's loss is on the host and its state is computed."""

        def run() -> float:
            self._state, metrics = self._step(self._state, self._batch)
            jax.block_until_ready(self._state)
            return float(metrics["loss"])

        seconds, loss = timed(run)
        self.losses.append(loss)
        return seconds

    def check(self) -> None:
        """Raises RuntimeError unless the number of steps is right and each started from another state."""
        done, losses = int(self._state["step"]), self.losses
        if done != len(losses) or not np.isfinite(losses).all() or len(set(losses)) != len(losses):
            raise RuntimeError(f"after {len(losses)} steps the step is {done}, losses {losses}")


class Scorer:
    """A regression head that scores rows at batch 1."""

    def __init__(self, model: fl.SequenceClassification) -> None:
        self.model = for_inference(model)
        self.tolerance = _TOLERANCES[model.execution.dtype]
        self._run = jax.jit(lambda model, *inputs: model(*inputs).logits[:, 0])

    def __call__(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns one score per row; each is on the host before the next row starts."""
        found = []
        for number, bucket in enumerate(rows["buckets"]):
            inputs = (rows[name][number : number + 1, :bucket] for name in _INPUTS)
            found.append(np.asarray(self._run(self.model, *inputs), np.float32)[0])
        return np.array(found)


def _regression(config: fl.EncoderConfig) -> fl.SequenceClassification:
    config = config.replace(labels=("score",), problem_type="regression")
    return fl.SequenceClassification(config, rngs=nnx.Rngs(0), execution=_execution())


def _execution() -> fl.Execution:
    return fl.Execution(dtype="auto", unroll="auto")


def _describe(config: fl.EncoderConfig, execution: fl.Execution, *, separate: bool = False) -> str:
    all_layers = len(config.layer_sequence())
    scanned = "unrolled" if int(execution.unroll) >= all_layers else f"scanned, {execution.unroll} at a time"
    return f"{execution.dtype}, layers {'separate' if separate else scanned}"


def _rows(config: fl.EncoderConfig, rows: int, length: int) -> list[dict[str, np.ndarray]]:
    """Returns two batches of the same lengths with different words."""
    batch = tapered_batch(config.vocab_size, rows, length)
    one = {name: batch[name] for name in _INPUTS}
    # Ids start from 1, because 0 is padding.
    other = (one["input_ids"] % (config.vocab_size - 1) + 1) * one["attention_mask"]
    return [one, {**one, "input_ids": other}]


def _check_equal(what: str, first: np.ndarray, again: np.ndarray, tolerance: float) -> None:
    if not (np.isfinite(first).all() and np.isfinite(again).all()):
        raise RuntimeError(f"{what}: not every number is finite")
    if (difference := float(np.abs(first - again).max())) > tolerance:
        raise RuntimeError(f"{what}: results differ by {difference:.2g}, more than {tolerance}")
