"""Prints the rows that a pretraining or distillation job would train on, as text, and their statistics.

    python -m train.show --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]

It takes the job's own config and changes nothing in its work directory. A tokenizer that has to be trained, and
tokenized text, go to the cache, where the job will find them.
"""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from train.options import cli
from train.options.request import Request
from train.options.tables import JOB_OPTIONS

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer
    from train.data.pretraining.dataset import PretrainingData
    from train.data.pretraining.rows import Row
    from train.data.pretraining.statistics import RowStatistics

_SHOWN_ROWS = 5  # as many as fit a screen
_COUNTED_TOKENS = 2_000_000  # enough for three digits of every fraction
_TIMED_SECONDS = 3.0  # over a hundred batches, so that prefetched ones weigh little
_LONGEST_SECONDS = 30.0  # for slow data
_SPACE = "▁"  # shows a piece that is only the space before a word
_HISTOGRAM_BINS = 12
_HISTOGRAM_WIDTH = 50
_LABELS = {"sop": ("in order", "swapped"), "nsp": ("next", "random")}


def run(request: Request) -> None:
    """Prints rows and statistics; raises what `train.data.pretraining.dataset.open_data` raises."""
    from train.data.pretraining import dataset

    values = request.values
    data = dataset.open_data(values, request.local_workdir / "tokenizer", lambda line: print(line, flush=True))
    print("\n".join(data.describe()))
    batches, speed = _first_batches(data, values["batch_size"], values["data.workers"])
    masked = _masked(data, batches, values["seed"])
    print(f"\n{_LEGEND}")
    shown = {name: array[:_SHOWN_ROWS] for name, array in masked[0].items()}
    for line in rows_as_text(shown, data.tokenizer, data.recipe.pair_task):
        print(line)
    print()
    for line in _statistics(data, masked):
        print(line)
    how = f"in batches of {values['batch_size']}, {values['data.workers']} worker processes"
    print(f"speed: {speed:,.0f} tokens a second {how}{_ON_DEVICE[data.recipe.masking]}")


_ON_DEVICE = {"rows": "", "batch": "; the step draws their masks"}
_LEGEND = "masked positions: [word] hidden, [word>other] replaced, [word=] kept"


def rows_as_text(batch: "Row", tokenizer: "Tokenizer", pair_task: str) -> Iterator[str]:
    """Yields lines for each row of a batch: its label, then each segment or packed text, with masked words marked."""
    from train.data.pretraining.statistics import prediction_mask, unmasked_ids

    original, is_masked = unmasked_ids(batch), prediction_mask(batch)
    packed = "segment_ids" in batch
    for row, ids in enumerate(original):
        last = int(batch["segment_ids"][row].max()) if packed else 1
        names = [str(number) for number in range(1, last + 1)] if packed else ["A", "B"]
        label = f"{last} text{'s' * (last > 1)}" if packed else _LABELS[pair_task][int(batch["sentence_label"][row])]
        yield f"row {row}: {label}"
        numbers = batch["segment_ids"][row] - 1 if packed else batch["token_type_ids"][row]
        for segment, name in enumerate(names):
            of_segment = (numbers == segment) & (batch["attention_mask"][row] > 0)
            frame = (tokenizer.cls_id, tokenizer.sep_id)
            positions = [position for position in np.flatnonzero(of_segment) if ids[position] not in frame]
            inputs, masked = batch["input_ids"][row, positions].tolist(), is_masked[row, positions].tolist()
            yield f"  {name}  {_marked(ids[positions].tolist(), inputs, masked, tokenizer)}"


def _marked(ids: list[int], inputs: list[int], masked: list[bool], tokenizer: "Tokenizer") -> str:
    """Returns the text of a segment, with masked positions in brackets."""
    parts, shown = [], ""
    for end in range(1, len(ids) + 1):
        before, shown = shown, tokenizer.decode(ids[:end])
        text = shown[len(before) :]
        if masked[end - 1]:
            space = " " * (len(text) - len(text.lstrip()))
            text = f"{space}[{text.strip() or _SPACE}{_treatment(ids[end - 1], inputs[end - 1], tokenizer)}]"
        parts.append(text)
    return "".join(parts).strip().replace("][", "")


def _treatment(original: int, replaced_by: int, tokenizer: "Tokenizer") -> str:
    if replaced_by == tokenizer.mask_id:
        return ""
    return "=" if replaced_by == original else f">{tokenizer.decode([replaced_by]).strip()}"


def _first_batches(data: "PretrainingData", batch_size: int, workers: int) -> "tuple[list[Row], float]":
    """Returns the job's first batches, at most an epoch, and the tokens per second of the data alone."""
    with contextlib.closing(data.train_batches(batch_size, 0, workers=workers)) as batches:  # type: ignore[type-var]
        kept = [next(batches)]  # waits for the plan and the workers, so the clock starts after it
        kept_tokens, tokens, seconds, start = 0, 0, 0.0, time.perf_counter()
        room = max(1, data.train.epoch_size(0) // batch_size)
        while seconds < _TIMED_SECONDS or (kept_tokens < _COUNTED_TOKENS and seconds < _LONGEST_SECONDS):
            batch = next(batches)
            new = int(batch["attention_mask"].sum())
            tokens += new
            if kept_tokens < _COUNTED_TOKENS and len(kept) < room:
                kept.append(batch)
                kept_tokens += new
            elif seconds >= _TIMED_SECONDS:
                break
            seconds = time.perf_counter() - start
    return kept, tokens / seconds


def _masked(data: "PretrainingData", batches: "list[Row]", seed: int) -> "list[Row]":
    """Returns the batches with the masks that the job's steps would draw."""
    import jax

    from flax_lite.rows.batch_masks import batch_masks
    from flax_lite.training.steps import preparation_key

    prepare = batch_masks(data.recipe, data.train.tokenizer, data.train.store.token_counts)
    if prepare is None:
        return batches
    prepare = jax.jit(prepare)
    return [jax.device_get(prepare(preparation_key(seed, step), batch)) for step, batch in enumerate(batches)]


def _statistics(data: "PretrainingData", batches: "list[Row]") -> Iterator[str]:
    from train.data.pretraining.statistics import RowStatistics

    statistics = RowStatistics(data.train.tokenizer)
    for batch in batches:
        statistics.add(batch)
    yield from describe(statistics, data.recipe.pair_task if data.recipe.rows == "pairs" else None)


def describe(statistics: "RowStatistics", pair_task: str | None) -> Iterator[str]:
    """Yields lines of statistics: counts, labels, masks, lengths."""
    shares = statistics.shares()
    masked = max(statistics.num_masked, 1)
    treatments = ", ".join(f"{name} {count / masked:.1%}" for name, count in statistics.masked.items())
    runs = (f"{count / masked:.1%}" for count in statistics.masked_by_run)
    yield f"rows: {statistics.rows:,}, tokens: {statistics.tokens:,}, padding {shares['padding']:.1%}"
    if pair_task is not None:
        yield f"sentence labels: {shares['label 1']:.1%} {_LABELS[pair_task][1]}"
    yield f"masked: {shares['masked']:.2%} of the maskable tokens, {shares['slots used']:.1%} of the slots"
    yield f"masked tokens: {treatments}"
    yield f"masked tokens in runs of 1, 2, 3, more words: {', '.join(runs)} (neighboring n-grams are one run)"
    yield "lengths of rows:"
    yield from _histogram(statistics.row_lengths)


def _histogram(counts: np.ndarray) -> Iterator[str]:
    """Yields a bar for each range of lengths, from the shortest row on."""
    shortest = int(np.argmax(np.asarray(counts) > 0))
    edges = np.unique(np.linspace(shortest, len(counts), _HISTOGRAM_BINS + 1).round().astype(int))
    sums = [int(np.sum(counts[begin:end])) for begin, end in itertools.pairwise(edges)]
    for (begin, end), total in zip(itertools.pairwise(edges), sums, strict=True):
        bar = "█" * round(_HISTOGRAM_WIDTH * total / max(*sums, 1)) or ("▏" if total else "")
        yield f"  {begin:>4} to {end - 1:<4} {total / max(sum(sums), 1):>6.1%} {bar}".rstrip()


if __name__ == "__main__":
    sys.exit(cli.main("show", JOB_OPTIONS, run))
