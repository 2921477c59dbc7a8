"""Writes metrics as TensorBoard event files."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.errors import UserError

_FLUSH_SECONDS = 10  # the package's default of two minutes is long for someone watching


def check_package() -> None:
    """Raises UserError, naming the extra to install, unless tensorboardX is installed."""
    _package()


class TensorBoardWriter:
    """Writes each number of a row as a scalar, `train/loss` or `eval/mlm_accuracy`, at the row's step.

    Args:
      folder: the directory of the event files; each run adds one.
      first_step: the step the run starts from. TensorBoard discards events of earlier runs after it.

    Raises:
      UserError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        # Files are named by the second and this suffix, and TensorBoard reads them in the order of their names.
        suffix = f".from_step_{first_step:010}"
        self._writer = _package().SummaryWriter(
            str(folder), purge_step=first_step + 1, flush_secs=_FLUSH_SECONDS, filename_suffix=suffix
        )

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes one row without its NaN and infinity, which are null in metrics.jsonl."""
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def sync(self) -> None:
        """Flushes the file."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def _package() -> Any:
    try:
        import tensorboardX
    except ImportError as error:
        raise UserError(
            f"tensorboard=true needs the package tensorboardX ({error}). Install it: pip install -e '.[tensorboard]', "
            "or give --config.tensorboard=false"
        ) from error
    return tensorboardX
