"""Prints a summary of a checkpoint without loading it: family, sizes, parameters, heads, format.

python -m flax_lite.inspect SOURCE [--tensors]
"""

import argparse
import math
import sys
from collections.abc import Sequence

from flax_lite.architecture.registry import weight_table
from flax_lite.checkpoints.checkpoint import Checkpoint
from flax_lite.checkpoints.formats.tensors import FLOATS
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.files.output import print_lines
from flax_lite.models.contents import survey, unaccounted
from flax_lite.question_answering.beam_files import open_head

_SIZES = (
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
)
_MAX_NAMES = 10


def describe(checkpoint: Checkpoint) -> list[str]:
    """Returns the lines of the summary.

    Raises:
        ValueError: if the configuration is invalid, or no tensor has a name of the family.
    """
    contents = survey(checkpoint)
    config = contents.config
    layers = f"{config.num_hidden_layers} layers"
    if config.num_physical_layers != config.num_hidden_layers:
        layers += f" of {config.num_physical_layers} set{'s' * (config.num_physical_layers > 1)} of parameters"
    stored = checkpoint.tensors.values()
    count = sum(math.prod(leaf.shape) for leaf in contents.target.values())
    dtypes = ", ".join(sorted({tensor.dtype for tensor in stored}))
    num_bytes = sum(tensor.num_bytes for tensor in stored if tensor.dtype in FLOATS)
    labels = ", ".join(config.labels[:8]) + (", ..." if len(config.labels) > 8 else "")
    rows = {
        "family": weight_table(config).family,
        "architectures": ", ".join(config.architectures) or "not named",
        "depth": layers,
        **{name: str(getattr(config, name)) for name in _SIZES},
        "heads": ", ".join((*contents.heads, *(["beam head"] if open_head(checkpoint) else []))) or "none",
        "labels": f"{config.num_labels}: {labels}" if "classifier" in contents.heads else "",
        "parameters": f"{count:,}",
        "file": f"{checkpoint.path}, {checkpoint.convention.name} names",
        "tensors": f"{len(checkpoint.tensors)}, {dtypes}, {num_bytes / 1e6:,.1f} MB",
    }
    unknown, missing, other = unaccounted(checkpoint, contents)
    rows |= {"unknown": _some(unknown), "missing": _some(missing), "other shapes": _some(other)}
    width = max(map(len, rows))
    return [f"{name:<{width}}  {value}" for name, value in rows.items() if value]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    return f"{len(names)}: {shown}" if names else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns exit status 2 for a checkpoint that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m flax_lite.inspect",
        description="Prints a summary of a checkpoint without loading it: family, sizes, parameters, heads, format.",
    )
    parser.add_argument("source", help="directory, work directory (@best, @last, @STEP), TensorFlow checkpoint, hub id")
    parser.add_argument("--tensors", action="store_true", help="list every tensor in the file")
    args = parser.parse_args(argv)
    try:
        checkpoint = open_source(args.source)
        lines = describe(checkpoint)
    except (ValueError, OSError) as error:
        print(f"inspect: {error}", file=sys.stderr)
        return 2
    if args.tensors:
        lines += [f"  {name} {list(tensor.shape)} {tensor.dtype}" for name, tensor in checkpoint.tensors.items()]
    print_lines(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
