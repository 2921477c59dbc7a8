"""The same work against other implementations, turn by turn in one run: which is faster, and by how much.

    python -m benchmarks.peers [setup] [--cases ...] [--rivals ...] [--models ...] [--rounds N] [--data DIR] [--smoke]

Each rival runs in an environment of its own, made on demand (`setup` makes all of them and ends). Outputs are compared
before anything is timed. Writes peers.json, peers.md and peers.png; started again, it goes on where it was, unless
commit, versions or device are others.
"""

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.circumstances import beginning, circumstances, cores
from benchmarks.harness import sentences
from benchmarks.peers import results, work
from benchmarks.peers.environments import SetupError, python_of
from benchmarks.peers.measuring import Group, Row, run_group
from benchmarks.peers.plot import draw
from benchmarks.peers.report import markdown
from benchmarks.peers.results import Key, Measured
from benchmarks.peers.rivals import CHOICES, KINDS, MEMORY_KINDS, OURS, RIVALS, Rival, chosen, environments
from benchmarks.spread import spread
from train.errors import UserError

_ROUNDS = {"forward": 7, "mlm": 3, "sts": 3, "compile": 2, "first_step": 3, "memory": 2, "memory_small": 3}
_SMOKE_ROUNDS = 2
_LEARNING_RATE = 1e-4
_MEMORY_MODEL = "albert-large"


class Settled(NamedTuple):
    """What has to be the same for a group's numbers to stand beside others."""

    settings: Mapping[str, Any]
    circumstances: Mapping[str, Any]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", nargs="?", choices=("run", "setup"), default="run")
    parser.add_argument("--cases", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rivals", nargs="*", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--models", nargs="+", choices=work.MODELS, default=list(work.MODELS))
    parser.add_argument("--rounds", type=int, help=f"turns of each; default {_ROUNDS}")
    parser.add_argument("--threads", type=int, default=len(cores()), help="cores that each worker may use")
    parser.add_argument("--pairs", type=int, default=64, help="pairs of the STS-B pass, 0 for all of --data's")
    parser.add_argument(
        "--data", type=Path, help="holds glue/STS-B/dev.tsv and tokenizers/; without it rows of such lengths are drawn"
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--environments", type=Path, default=Path("runs/peers/environments"), help="folder of them")
    parser.add_argument("--here", nargs="*", choices=CHOICES, default=[], help="rivals to run in this environment")
    parser.add_argument("--output", type=Path, default=Path("runs/peers"), help="folder of the results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what the command line names; 2 for a user's mistake, 1 if this project's own part failed."""
    given = arguments(argv)
    try:
        _check(given)
        return _setup(given) if given.action == "setup" else _run(given)
    except UserError as error:
        print(f"peers: {error}", file=sys.stderr)
        return error.status


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
    """The interpreter of each rival, its environment made where it is not there; or why it cannot be made."""
    wanted, made = environments(), dict[str, Path | str]()
    here = set(chosen(given.here))
    for name, rival in rivals.items():
        if rival.environment is None or name in here:
            made[name] = Path(sys.executable)
            continue
        known = next((python for other, python in made.items() if rivals[other].environment == rival.environment), None)
        made[name] = known or _environment(given.environments / rival.environment, wanted[rival.environment])
    return made


def _environment(folder: Path, wanted: Any) -> Path | str:
    try:
        return python_of(folder.resolve(), wanted)
    except SetupError as error:
        print(f"no environment {folder}: {error}", file=sys.stderr)
        return f"its environment cannot be made: {error}"


def _run(given: argparse.Namespace) -> int:
    asked, found = chosen(given.rivals), pythons(given, chosen(given.rivals))
    groups, about = results.read(given.output / "peers.json"), circumstances()
    with _cores_of(given.threads):
        for key in keys(given):
            settings = _settings(given, key)
            known = next((one for one in groups if one.key == key and one.is_of(settings, about)), None)
            # Who was compared before is not lost: all take turns again.
            names = {*asked, *(known.rows if known else ())}
            taking_part = {name: rival for name, rival in RIVALS.items() if name in names and key.kind in rival.kinds}
            found |= pythons(given, {name: rival for name, rival in taking_part.items() if name not in found})
            able = [name for name in taking_part if isinstance(found[name], Path)]
            if known and known.answers(able):
                continue
            measured = _measure(given, key, taking_part, found, Settled(settings, about))
            groups = sorted(
                [*(group for group in groups if group.key != key), measured], key=lambda one: _order(one.key)
            )
            write(given.output, groups)
            _say(measured)
    print(markdown(groups))
    wanted = set(keys(given))
    return 0 if all(group.rows[OURS].seconds for group in groups if group.key in wanted) else 1


def keys(given: argparse.Namespace) -> Iterator[Key]:
    """The groups that the command line names, in the order in which they are measured."""
    for kind, model in itertools.product((kind for kind in KINDS if kind in given.cases), given.models):
        if kind in MEMORY_KINDS:
            continue
        for layers in _size(given).depths if kind == "compile" else (None,):
            yield Key(kind, model, layers)
    for kind in (kind for kind in MEMORY_KINDS if kind in given.cases):
        yield Key(kind, _MEMORY_MODEL, None)


def _order(key: Key) -> tuple[int, str, int]:
    return KINDS.index(key.kind), key.model, key.layers or 0


def _size(given: argparse.Namespace) -> work.Size:
    return work.SMOKE if given.smoke else work.REAL


def _rounds(given: argparse.Namespace, kind: str) -> int:
    return given.rounds or (_SMOKE_ROUNDS if given.smoke else _ROUNDS[kind])


def _settings(given: argparse.Namespace, key: Key) -> dict[str, Any]:
    """What a reader, and a second start, have to know of a group."""
    size = _size(given)
    rows, length = _shape(size, key.kind)
    settings: dict[str, Any] = {"rounds": _rounds(given, key.kind), "threads": given.threads, "smoke": given.smoke}
    if key.kind == "sts":
        return settings | {"pairs": given.pairs, "real pairs": given.data is not None and not given.smoke}
    if key.kind == "compile":
        settings["width"] = size.compiled_config["hidden_size"]
    return settings | {"rows": rows, "length": length, "tokens": rows * length}


def _shape(size: work.Size, kind: str) -> tuple[int, int]:
    """Rows and their length."""
    if kind in MEMORY_KINDS:
        return (size.small_rows if kind == "memory_small" else size.rows), size.memory_length
    return size.rows, size.length


def _measure(
    given: argparse.Namespace,
    key: Key,
    rivals: Mapping[str, Rival],
    found: Mapping[str, Path | str],
    settled: Settled,
) -> Measured:
    began = beginning()
    config = work.model_config(key.model, _size(given), key.kind, key.layers)
    folder = given.output.resolve() / "work"
    model = folder / "-".join(("smoke" * given.smoke or "real", key.model, str(key.layers or "own")))
    group_folder = folder / "-".join(map(str, key))
    group_folder.parent.mkdir(parents=True, exist_ok=True)
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
    group = Group(case=case, rivals=rivals, pythons=found, rounds=settled.settings["rounds"], folder=group_folder)
    environment = {**settled.circumstances, **began}
    return Measured(key=key, settings=settled.settings, environment=environment, rows=run_group(group))


def _batch(given: argparse.Namespace, key: Key, vocab_size: int) -> dict[str, np.ndarray]:
    size = _size(given)
    if key.kind == "sts":
        if given.data is not None and not given.smoke:
            return sentences.real_rows(given.data, key.model, given.pairs)
        return sentences.random_rows(vocab_size, given.pairs, size.length)
    return work.make_batch(vocab_size, *_shape(size, key.kind))


def write(folder: Path, groups: Sequence[Measured]) -> None:
    """Writes the numbers, the tables and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "peers.json", groups)
    (folder / "peers.md").write_text(markdown(groups), encoding="utf-8")
    draw(groups, folder / "peers.png")


def _say(measured: Measured) -> None:
    def told(row: Row) -> str:
        found = spread(row.seconds)
        return f"{row.title} {found.median:.3f} s" if found else f"{row.title}: {row.reason}"

    kind, model, layers = measured.key
    print(f"{kind}, {model}{f', {layers} layers' if layers else ''}:", file=sys.stderr)
    for row in measured.rows.values():
        print(f"  {told(row)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _cores_of(threads: int) -> Iterator[None]:
    """Workers inherit the cores that this process may use, and JAX makes as many threads as there are."""
    whole = cores()
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, whole[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, whole)
