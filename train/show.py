"""Shows what a pretraining job would read: rows as a person reads them, and what they are made of.

    python -m train.show --config configs/albert_tiny.py [--workdir DIR] [--config.KEY=VALUE ...]

It takes the job's own config and changes nothing in its work directory. What the job would prepare first (a trained
tokenizer, tokenised text) is prepared in the cache, where the job will find it.
"""

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from train import cli
from train.cli import Request
from train.schema import PRETRAIN_LEAVES

if TYPE_CHECKING:
    from flax_lite.tokenization import Tokenizer
    from train.data.pretraining import PretrainingData
    from train.data.rows import Row
    from train.data.statistics import RowStatistics

_SHOWN_ROWS = 5  # as many as fit a screen
# Enough for three digits of every share; the time is for slow sources.
_MEASURED_TOKENS = 2_000_000
_MEASURED_SECONDS = 30.0
_HISTOGRAM_BINS = 12
_HISTOGRAM_WIDTH = 50
_LABELS = {"sop": ("in order", "swapped"), "nsp": ("next", "random")}


def run(request: Request) -> None:
    """Prints rows and statistics; raises what opening a job's data raises."""
    from train.data import pretraining

    values = request.values
    data = pretraining.open_data(values, request.workdir / "tokenizer", lambda line: print(line, flush=True))
    print("\n".join(data.describe()))
    print(f"\n{_LEGEND}")
    batch = data.train.batch(range(min(_SHOWN_ROWS, data.train.epoch_size(0))))
    for line in rows_as_text(batch, data.tokenizer, data.recipe.pair_task):
        print(line)
    print()
    for line in _statistics(data, values["batch_size"], values["data.workers"]):
        print(line, flush=True)


_LEGEND = "[word] hidden, [word>other] replaced, [word=] kept: all three are to be predicted"


def rows_as_text(batch: "Row", tokenizer: "Tokenizer", pair_task: str) -> Iterator[str]:
    """Lines for each row of a batch: its label, then each segment, or packed text, with the masked words in place."""
    from train.data.statistics import masked_places, restore

    original, chosen = restore(batch), masked_places(batch)
    packed = "segment_ids" in batch
    for row, ids in enumerate(original):
        last = int(batch["segment_ids"][row].max()) if packed else 1
        names = [str(number) for number in range(1, last + 1)] if packed else ["A", "B"]
        label = f"{last} text{'s' * (last > 1)}" if packed else _LABELS[pair_task][int(batch["sentence_label"][row])]
        yield f"row {row}: {label}"
        numbers = batch["segment_ids"][row] - 1 if packed else batch["token_type_ids"][row]
        for segment, name in enumerate(names):
            of_segment = (numbers == segment) & (batch["attention_mask"][row] > 0)
            places = [place for place in np.flatnonzero(of_segment) if ids[place] not in _frame(tokenizer)]
            ids_found, are_chosen = batch["input_ids"][row, places].tolist(), chosen[row, places].tolist()
            yield f"  {name}  {_marked(ids[places].tolist(), ids_found, are_chosen, tokenizer)}"


def _frame(tokenizer: "Tokenizer") -> tuple[int, int]:
    return tokenizer.cls_id, tokenizer.sep_id


def _marked(ids: list[int], found: list[int], chosen: list[bool], tokenizer: "Tokenizer") -> str:
    """The text of a segment, what was chosen in brackets."""
    parts, shown = [], ""
    for end in range(1, len(ids) + 1):
        before, shown = shown, tokenizer.decode(ids[:end])
        text = shown[len(before) :]
        if chosen[end - 1]:
            space = " " * (len(text) - len(text.lstrip()))
            text = f"{space}[{text.strip()}{_treatment(ids[end - 1], found[end - 1], tokenizer)}]"
        parts.append(text)
    return "".join(parts).strip().replace("][", "")


def _treatment(original: int, found: int, tokenizer: "Tokenizer") -> str:
    if found == tokenizer.mask_id:
        return ""
    return "=" if found == original else f">{tokenizer.decode([found]).strip()}"


def _statistics(data: "PretrainingData", batch_size: int, workers: int) -> Iterator[str]:
    from train.data.statistics import RowStatistics

    statistics = RowStatistics(data.train.tokenizer)
    epoch = data.train.epoch_size(0)
    seconds = 0.0
    with contextlib.closing(data.train_batches(batch_size, 0, workers=workers)) as batches:  # type: ignore[type-var]
        next(batches)  # the first waits for the plan and for the workers
        while statistics.rows < epoch and statistics.tokens < _MEASURED_TOKENS and seconds < _MEASURED_SECONDS:
            start = time.perf_counter()
            batch = next(batches)
            seconds += time.perf_counter() - start
            statistics.add(batch)
    yield from describe(statistics, data.recipe.pair_task if data.recipe.rows == "pairs" else None)
    speed = statistics.tokens / seconds if seconds else 0.0
    yield f"speed: {speed:,.0f} tokens a second in batches of {batch_size}, {workers} worker processes"


def describe(statistics: "RowStatistics", pair_task: str | None) -> Iterator[str]:
    """Lines about what rows are made of."""
    shares = statistics.shares()
    masked = max(statistics.num_masked, 1)
    treatments = ", ".join(f"{name} {count / masked:.1%}" for name, count in statistics.masked.items())
    runs = (f"{count / masked:.1%}" for count in statistics.masked_by_run)
    yield f"rows: {statistics.rows:,}, tokens: {statistics.tokens:,}, padding {shares['padding']:.1%}"
    if pair_task is not None:
        yield f"sentence labels: {shares['label 1']:.1%} {_LABELS[pair_task][1]}"
    yield f"masked: {shares['masked']:.2%} of the tokens that may be, {shares['slots used']:.1%} of the slots"
    yield f"masked tokens: {treatments}"
    yield f"masked tokens in runs of 1, 2, 3, more words: {', '.join(runs)} (neighbouring n-grams are one run)"
    yield "lengths of rows:"
    yield from _histogram(statistics.row_lengths)


def _histogram(counts: np.ndarray) -> Iterator[str]:
    """A bar for each range of lengths, from the shortest row's on."""
    shortest = int(np.argmax(np.asarray(counts) > 0))
    edges = np.unique(np.linspace(shortest, len(counts), _HISTOGRAM_BINS + 1).round().astype(int))
    sums = [int(np.sum(counts[begin:end])) for begin, end in itertools.pairwise(edges)]
    for (begin, end), total in zip(itertools.pairwise(edges), sums, strict=True):
        bar = "█" * round(_HISTOGRAM_WIDTH * total / max(*sums, 1)) or ("▏" if total else "")
        yield f"  {begin:>4} to {end - 1:<4} {total / max(sum(sums), 1):>6.1%} {bar}".rstrip()


if __name__ == "__main__":
    sys.exit(cli.main("show", PRETRAIN_LEAVES, run))
