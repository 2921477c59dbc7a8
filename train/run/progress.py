"""Progress output: a bar on a terminal, plain lines otherwise."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

_REFRESH_SECONDS = 0.2


class Progress:
    """Prints a run's progress.

    Args:
      total_steps: the length of the bar.
      shown: the metrics to show, if a row has them.
      stream: the output; a bar is shown if it is a terminal.
    """

    def __init__(self, total_steps: int, shown: Sequence[str], stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._total, self._shown = total_steps, tuple(shown)
        self._console = Console(file=self._stream, highlight=False, markup=False) if self._stream.isatty() else None
        self._bar: Bar | None = None
        self._refreshed = 0.0
        self._rate = ""
        self._first, self._started = 0, time.monotonic()

    def log(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._console is not None:
            self._console.print(line, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Prints a description of the body's work and, at the end, its duration."""
        started = time.monotonic()
        if self._console is not None and self._bar is None:
            with self._console.status(what):
                yield
        else:
            self.log(f"{what} ...")
            yield
        self.log(f"{what}: {time.monotonic() - started:.1f} s")

    @contextlib.contextmanager
    def steps(self, first: int) -> Iterator[None]:
        """Shows the bar during the training steps after step `first`."""
        self._first, self._started = first, time.monotonic()
        if self._console is None:
            yield
            return
        text = TextColumn("{task.fields[text]}", table_column=Column(no_wrap=True))
        columns = (MofNCompleteColumn(table_column=Column(no_wrap=True)), BarColumn(bar_width=None), text)
        with Bar(*columns, console=self._console, auto_refresh=False, expand=True) as self._bar:
            self._bar.add_task("", total=self._total, completed=first, text="")
            try:
                yield
            finally:
                self._bar.refresh()
        self._bar = None

    def step(self, step: int, row: Mapping[str, float], write: bool) -> None:
        """Shows a training step; without a terminal, only steps whose row is written (`write`)."""
        if "tokens_per_second" in row:
            self._rate = f"{short_number(row['tokens_per_second'])} tokens/s"
            if "mfu" in row:
                self._rate += f"  {row['mfu']:.1%} MFU"
        if self._bar is not None:
            now = time.monotonic()
            self._bar.update(self._bar.task_ids[0], completed=step, text=self._line(step, self._short(row)))
            if now - self._refreshed > _REFRESH_SECONDS:
                self._refreshed = now
                self._bar.refresh()
        elif write:
            self.log(f"step {step}/{self._total}  {self._line(step, self._text(row))}")

    def evaluation(self, step: int, row: Mapping[str, float]) -> None:
        """Shows an evaluation on the held-out set."""
        self.log(f"step {step}/{self._total}  held-out: {self._text(row)}")

    def _values(self, row: Mapping[str, float]) -> list[tuple[str, float]]:
        """Returns the shown metrics of a row; of a training row, the mean loss instead of that of a single step."""
        names = ["loss_mean" if name == "loss" and "loss_mean" in row else name for name in self._shown]
        return [(name, row[name]) for name in names if row.get(name) is not None]

    def _text(self, row: Mapping[str, float]) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self._values(row))

    def _short(self, row: Mapping[str, float]) -> str:
        """Formats as `_text`, but "mlm_accuracy 0.3123" as "mlm 31.2%", to leave room for the bar in 80 columns."""
        end = "_accuracy"
        return "  ".join(
            f"{name.removesuffix(end)} {value:.1%}"
            if name.endswith(end)
            else f"{name.removesuffix('_mean')} {value:.4g}"
            for name, value in self._values(row)
        )

    def _line(self, step: int, text: str) -> str:
        # Only written rows have a rate; the last one is shown in between, because a flickering number is unreadable.
        return "  ".join(filter(None, (text, self._rate, self._time_left(step))))

    def _time_left(self, step: int) -> str:
        done = step - self._first
        seconds = (time.monotonic() - self._started) / done * (self._total - step) if done else 0.0
        return f"{short_time(seconds)} left"


def short_number(number: float) -> str:
    """Returns 12345.0 as "12.3k"."""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def short_time(seconds: float) -> str:
    """Returns 3725.0 as "1:02:05" and 65.0 as "1:05"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
