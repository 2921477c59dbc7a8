"""The rows of metrics.jsonl as TensorBoard's event files."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.errors import UserError

_FLUSH_SECONDS = 10  # a person looks while the job runs; the package's own two minutes are long then


def check_package() -> None:
    """Raises UserError, naming the extra, unless the package that writes event files is installed."""
    _package()


class TensorBoardWriter:
    """Writes each number of a row as a scalar, `train/loss` or `eval/mlm_accuracy`, at the row's step.

    Args:
      folder: where the event files are; each run of a work directory adds one.
      first_step: the step the run continues from. TensorBoard is told to forget what stands past it.

    Raises:
      UserError: the package is not installed.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        # A file is named by the second and its suffix, and TensorBoard reads files in the order of their names.
        suffix = f".from_step_{first_step:010}"
        self._writer = _package().SummaryWriter(
            str(folder), purge_step=first_step + 1, flush_secs=_FLUSH_SECONDS, filename_suffix=suffix
        )

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes one row; numbers that are not finite are left out, as metrics.jsonl has null there."""
        for name, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name}", value, step)

    def sync(self) -> None:
        """Hands what was written to the operating system."""
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
