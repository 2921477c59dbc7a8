"""The files that a pattern names."""

import glob
from pathlib import Path

from train.errors import UserError


def matching_files(scheme: str, pattern: str) -> tuple[Path, ...]:
    """Returns the files that match, sorted by name.

    Raises:
        UserError: if there is none.
    """
    names = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))
    files = tuple(path for path in map(Path, names) if path.is_file())
    if not files:
        raise UserError(
            f"No file matches '{scheme}:{pattern}' (looked from {Path.cwd()}). Give a path or a pattern such as "
            f"'{scheme}:corpus/**/*.{_ENDINGS[scheme]}', in quotes so that the shell leaves it alone."
        )
    return files


_ENDINGS = {"text": "txt", "parquet": "parquet"}
