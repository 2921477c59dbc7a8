"""How much of a real sentence encoder a student of half its depth keeps, measured on STS-B's development set.

    python -m benchmarks.sentence_student --teacher DIR --pairs dev.tsv --config.data.source='text:GLOB' \
        [--seeds 3] [--out DIR] [--config.KEY=VALUE ...]

A sentence's vector is the mean of its tokens' last hidden states, and the score is Spearman's correlation between the
cosines of pairs and people's judgments. Students learn from plain text by configs/sentence_student.py and never see a
judgment; the best untrained pick of the teacher's layers is what they have to beat. Interrupted, the same command goes
on where it was.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import stats

import flax_lite as fl
from benchmarks.harness.sentences import Pairs, read_pairs
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.checkpoints.sources.work_directory import complete_steps
from flax_lite.distillation.initialization import init_from_teacher
from flax_lite.layers.sentence_vectors import sentence_vectors
from train import distill
from train.errors import UserError
from train.options import cli
from train.options.tables import DISTILL_OPTIONS

_CONFIG = "configs/sentence_student.py"
_LENGTH_STEP = 16
_BATCH = 100


@jax.jit
def _vectors(model: fl.Encoder, batch: Mapping[str, jax.Array]) -> jax.Array:
    hidden = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).last_hidden_state
    vectors = sentence_vectors(hidden, batch["attention_mask"], 1)[:, 0]
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


def score(model: fl.Encoder, tokenizer: fl.Tokenizer, pairs: Pairs) -> float:
    """Spearman's correlation between cosines and judgments."""

    def embed(texts: list[str]) -> np.ndarray:
        """Vectors of all texts, in batches of about equal length: few shapes, little padding."""
        lengths = np.array([len(ids) + 2 for ids in tokenizer.encode(texts)])
        order = np.argsort(lengths, kind="stable")
        order = np.pad(order, (0, -len(order) % _BATCH), mode="edge")
        vectors = np.empty((len(texts), model.config.hidden_size), np.float32)
        for rows in order.reshape(-1, _BATCH):
            length = -(-int(lengths[rows].max()) // _LENGTH_STEP) * _LENGTH_STEP
            vectors[rows] = _vectors(model, tokenizer([texts[row] for row in rows], max_length=length))
        return vectors

    cosines = np.sum(embed(pairs.first) * embed(pairs.second), axis=-1)
    return float(stats.spearmanr(cosines, pairs.judgments)[0])  # type: ignore[arg-type]


def score_picks(teacher: fl.Encoder, depth: int, tokenizer: fl.Tokenizer, pairs: Pairs) -> dict[str, float]:
    """The score of every choice of the teacher's layers, untrained, best first."""
    config = teacher.config.replace(num_hidden_layers=depth)
    student = fl.Encoder(config, rngs=nnx.Rngs(0))
    structure = nnx.graphdef(student)
    own, given = ({"encoder": fl.get_params(model)} for model in (student, teacher))
    scores = {}
    for pick in itertools.combinations(range(teacher.config.num_hidden_layers), depth):
        picked = fl.with_params(structure, init_from_teacher(own, given, pick)["encoder"])
        scores[str(list(pick))] = score(picked, tokenizer, pairs)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def train_student(given: argparse.Namespace, overrides: Sequence[str], seed: int) -> Path | int:
    """Distils one student; returns its work directory, or the job's exit status where it did not end well."""
    work = given.out / f"seed-{seed}"
    argv = ["--config", _CONFIG, "--workdir", str(work), f"--config.teacher={given.teacher}", f"--config.seed={seed}"]
    argv += ["--config.keep_checkpoints=100", *overrides]
    status = cli.main("distill", DISTILL_OPTIONS, distill.run, argv)
    return status or work


def curve(work: Path, tokenizer: fl.Tokenizer, pairs: Pairs) -> dict[int, float]:
    """The score at each checkpoint of a run."""
    return {
        step: score(fl.Encoder.from_pretrained(f"{work}@{step}"), tokenizer, pairs)
        for step in complete_steps(work / "checkpoints")
    }


def report(results: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown."""
    teacher, picks, curves = results["teacher"], results["picks"], results["curves"]
    best_pick, start = next(iter(picks.items()))
    lines = [
        f"STS-B development set, {results['pairs']} pairs, Spearman's correlation.",
        "",
        "| model | score | of the teacher's | of the way from the best untrained pick |",
        "|---|---|---|---|",
        f"| teacher | {teacher:.4f} | | |",
        f"| layers {best_pick}, untrained | {start:.4f} | {start / teacher:.1%} | 0% |",
    ]
    for seed, points in curves.items():
        end = list(points.values())[-1]
        way = (end - start) / (teacher - start)
        what = f"distilled, seed {seed}, {list(points)[-1]} steps"
        lines.append(f"| {what} | {end:.4f} | {end / teacher:.1%} | {way:.0%} |")
    lines += ["", "Untrained picks of the teacher's layers: " + ", ".join(f"{p} {v:.4f}" for p, v in picks.items())]
    return lines


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Score over steps, one line a seed, between the teacher and the best untrained pick."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    start = next(iter(results["picks"].values()))
    for color, (seed, points) in zip(("#0072B2", "#D55E00", "#009E73") * 9, results["curves"].items(), strict=False):
        axes.plot(list(map(int, points)), list(points.values()), "o-", color=color, markersize=4, label=f"seed {seed}")
    for name, value in (("teacher", results["teacher"]), ("best untrained pick", start)):
        axes.axhline(value, color="#666666", linewidth=1, linestyle=":")
        axes.annotate(f"{name} {value:.4f}", (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel("Spearman's correlation, STS-B dev")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5)
    figure.savefig(path)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit status of the job where one does not end well."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sentence_student", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--teacher", required=True, help="a sentence encoder: directory or hub id")
    parser.add_argument("--pairs", required=True, type=Path, help="STS-B's dev.tsv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/sentence_student"))
    given, overrides = parser.parse_known_args(argv)
    try:
        pairs = read_pairs(given.pairs)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.status
    teacher, tokenizer = fl.Encoder.from_pretrained(given.teacher), fl.load_tokenizer(given.teacher)
    curves = {}
    for seed in range(1, given.seeds + 1):
        work = train_student(given, overrides, seed)
        if isinstance(work, int):
            return work
        curves[seed] = curve(work, tokenizer, pairs)
    depth = open_source(given.out / "seed-1").config.num_hidden_layers
    picks = score_picks(teacher, depth, tokenizer, pairs)
    results = {"pairs": len(pairs.first), "teacher": score(teacher, tokenizer, pairs), "picks": picks, "curves": curves}
    lines = report(results)
    (given.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (given.out / "results.md").write_text("\n".join(lines) + "\n")
    draw(results, given.out / "results.png")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
