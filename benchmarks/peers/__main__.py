"""The same work in other implementations, turn by turn in one run: which is faster, and by how much.

    python -m benchmarks.peers [setup] [--cases ...] [--rivals ...] [--models ...] [--rounds N] [--data DIR] [--smoke]

Each rival runs in an environment of its own, made on demand (`setup` makes all of them and ends). Outputs are compared
before anything is timed. Writes peers.json, peers.md and peers.png; repeated, the command resumes, unless commit,
versions or device have changed.
"""

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import command, sentences
from benchmarks.harness.circumstances import circumstances, cores, moment
from benchmarks.harness.timing import spread
from benchmarks.peers import results, work
from benchmarks.peers.environments import Environment, SetupError, environments, python_of
from benchmarks.peers.measuring import Group, run_group
from benchmarks.peers.plot import draw
from benchmarks.peers.report import markdown, model_title
from benchmarks.peers.results import Key, Measured
from benchmarks.peers.rivals import CHOICES, FLAX_LITE, KINDS, MEMORY_KINDS, RIVALS, Rival, chosen
from train.errors import UserError

NAME = "peers"
_ROUNDS = {"forward": 7, "mlm": 3, "sts": 3, "compile": 2, "first_step": 3, "memory": 2, "memory_small": 3}
_SMOKE_ROUNDS = 2
_LEARNING_RATE = 1e-4
_MEMORY_MODEL = "albert-large"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = command.make_parser(NAME, __doc__, smoke="tiny sizes, to see that it works")
    add = parser.add_argument
    add("action", nargs="?", choices=("run", "setup"), default="run")
    add("--cases", nargs="+", choices=KINDS, default=list(KINDS))
    add("--rivals", nargs="*", choices=CHOICES, default=list(CHOICES))
    add("--models", nargs="+", choices=work.MODELS, default=list(work.MODELS))
    add("--rounds", type=int, help=f"turns of each; default {_ROUNDS}")
    add("--threads", type=int, default=len(cores()), help="cores that each worker may use")
    add("--pairs", type=int, default=64, help="pairs of the STS-B pass, 0 for all of --data's")
    add("--data", type=Path, help="has glue/STS-B/dev.tsv and tokenizers/; without it rows of such lengths are drawn")
    add("--environments", type=Path, default=Path("runs/peers/environments"), help="directory of the environments")
    add("--here", nargs="*", choices=CHOICES, default=[], help="rivals to run in this environment")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, 1 if flax_lite itself failed, or 2 for a user's mistake."""
    return command.run(NAME, _run, arguments(argv))


def _run(given: argparse.Namespace) -> int:
    if given.report:
        groups = results.read(given.report)
        _write_report(given.output, given.report.stem, groups)
        print(markdown(groups))
        return 0
    _check(given)
    return _setup(given) if given.action == "setup" else _compare(given)


def _check(given: argparse.Namespace) -> None:
    if given.rounds is not None and given.rounds < 1:
        raise UserError(f"--rounds {given.rounds}: expected at least 1")
    if not 1 <= given.threads <= len(cores()):
        raise UserError(f"--threads {given.threads}: this process may use 1 to {len(cores())} cores")
    if given.pairs < 0 or (given.pairs == 0 and (given.data is None or given.smoke)):
        raise UserError(f"--pairs {given.pairs}: expected a positive number, or 0 with --data")


def _setup(given: argparse.Namespace) -> int:
    found = pythons(given, chosen(given.rivals))
    for name, python in found.items():
        print(f"{name}: {python}")
    return 0 if all(isinstance(python, Path) for python in found.values()) else 1


def pythons(given: argparse.Namespace, rivals: Mapping[str, Rival]) -> dict[str, Path | str]:
    """Returns the interpreter of each rival, making its environment if needed, or the reason why there is none."""
    wanted, here = environments(), set(chosen(given.here))
    by_environment: dict[str, Path | str] = {}
    found: dict[str, Path | str] = {}
    for name, rival in rivals.items():
        key = rival.environment
        if key is None or name in here:
            found[name] = Path(sys.executable)
        else:
            if key not in by_environment:
                by_environment[key] = _environment(given.environments / key, wanted[key])
            found[name] = by_environment[key]
    return found


def _environment(folder: Path, wanted: Environment) -> Path | str:
    try:
        return python_of(folder.resolve(), wanted)
    except SetupError as error:
        print(f"no environment {folder}: {error}", file=sys.stderr)
        return f"its environment cannot be made: {error}"


def _compare(given: argparse.Namespace) -> int:
    file, about = given.output / f"{NAME}.json", circumstances()
    groups, found, wanted = results.read(file), pythons(given, chosen(given.rivals)), list(keys(given))
    with _limited_to(given.threads):
        for key in wanted:
            settings = _settings(given, key)
            known = next((one for one in groups if one.key == key and one.is_of(settings, about)), None)
            # Rivals of an earlier call stay in the comparison, so all take turns again.
            names = {*chosen(given.rivals), *(known.rows if known else ())}
            taking_part = {name: rival for name, rival in RIVALS.items() if name in names and key.kind in rival.kinds}
            found |= pythons(given, {name: rival for name, rival in taking_part.items() if name not in found})
            if known and known.answers([name for name in taking_part if isinstance(found[name], Path)]):
                continue
            when = moment()
            rows = run_group(_group(given, key, taking_part, found, settings["rounds"]))
            measured = Measured(key=key, settings=settings, environment={**about, **when}, rows=rows)
            groups = sorted([*(one for one in groups if one.key != key), measured], key=lambda one: _order(one.key))
            results.write(file, groups)
            _write_report(given.output, NAME, groups)
            _log(measured)
    print(markdown(groups))
    return 0 if all(group.rows[FLAX_LITE].seconds for group in groups if group.key in wanted) else 1


def _write_report(folder: Path, stem: str, groups: Sequence[Measured]) -> None:
    command.write_text(folder / f"{stem}.md", markdown(groups))
    draw(groups, folder / f"{stem}.png")


def keys(given: argparse.Namespace) -> Iterator[Key]:
    """Yields the groups that the arguments name, in the order in which they are measured."""
    for kind, model in itertools.product((kind for kind in KINDS if kind in given.cases), given.models):
        if kind not in MEMORY_KINDS:
            for layers in _size(given).depths if kind == "compile" else (None,):
                yield Key(kind, model, layers)
    for kind in (kind for kind in MEMORY_KINDS if kind in given.cases):
        yield Key(kind, _MEMORY_MODEL, None)


def _order(key: Key) -> tuple[int, str, int]:
    return KINDS.index(key.kind), key.model, key.layers or 0


def _size(given: argparse.Namespace) -> work.Size:
    return work.SMOKE if given.smoke else work.REAL


def _settings(given: argparse.Namespace, key: Key) -> dict[str, Any]:
    """Returns the settings that numbers of a group depend on."""
    size = _size(given)
    rounds = given.rounds or (_SMOKE_ROUNDS if given.smoke else _ROUNDS[key.kind])
    settings: dict[str, Any] = {"rounds": rounds, "threads": given.threads, "smoke": given.smoke}
    if key.kind == "sts":
        return settings | {"pairs": given.pairs, "real pairs": given.data is not None and not given.smoke}
    if key.kind == "compile":
        settings["width"] = size.compiled_config["hidden_size"]
    rows, length = _shape(size, key.kind)
    return settings | {"rows": rows, "length": length, "tokens": rows * length}


def _shape(size: work.Size, kind: str) -> tuple[int, int]:
    """Returns B and T."""
    if kind in MEMORY_KINDS:
        return (size.small_rows if kind == "memory_small" else size.rows), size.memory_length
    return size.rows, size.length


def _group(
    given: argparse.Namespace, key: Key, rivals: Mapping[str, Rival], found: Mapping[str, Path | str], rounds: int
) -> Group:
    """Writes the model and the batch of a group, and returns its inputs."""
    config = work.model_config(key.model, _size(given), key.kind, key.layers)
    folder = given.output.resolve() / "work"
    model = folder / "-".join(("smoke" if given.smoke else "real", key.model, str(key.layers or "own")))
    folder.mkdir(parents=True, exist_ok=True)
    work.write_model(config, model)
    batch = folder / "batch.npz"
    np.savez(batch, allow_pickle=False, **_batch(given, key, config.vocab_size))
    case = {
        "kind": key.kind,
        "model": str(model),
        "batch": str(batch),
        "threads": given.threads,
        "learning_rate": _LEARNING_RATE,
    }
    return Group(case=case, rivals=rivals, pythons=found, rounds=rounds, folder=folder / "-".join(map(str, key)))


def _batch(given: argparse.Namespace, key: Key, vocab_size: int) -> dict[str, np.ndarray]:
    size = _size(given)
    if key.kind == "sts":
        if given.data is not None and not given.smoke:
            return sentences.real_rows(given.data, key.model, given.pairs)
        return sentences.random_rows(vocab_size, given.pairs, size.length)
    return work.make_batch(vocab_size, *_shape(size, key.kind))


def _log(measured: Measured) -> None:
    print(f"{measured.key.kind}, {model_title(measured)}:", file=sys.stderr)
    for row in measured.rows.values():
        found = spread(row.seconds)
        text = f" {found.median:.3f} s" if found else f": {row.reason}"
        print(f"  {row.title}{text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _limited_to(threads: int) -> Iterator[None]:
    """Limits the cores of this process, which workers inherit: JAX starts as many threads as there are cores."""
    before = cores()
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, before[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    sys.exit(main())
