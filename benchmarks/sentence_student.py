"""A student of a real sentence encoder with half its depth: how much of its quality on STS-B's development set remains.

    python -m benchmarks.sentence_student --teacher DIR --pairs dev.tsv --config.data.source='text:GLOB' \
        [--seeds 3] [--out DIR] [--config.KEY=VALUE ...]

A sentence's vector is the mean of its tokens' last hidden states, and the score is Spearman's correlation between the
cosines of pairs and people's judgments. Students learn from plain text by configs/sentence_student.py and never see a
judgment; they are compared with the best untrained selection of the teacher's layers. Repeating an interrupted command
resumes it.
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
from benchmarks.harness import command, plots, results
from benchmarks.harness.sentences import Pairs, read_pairs
from benchmarks.harness.tables import markdown_table
from flax_lite.checkpoints.sources.resolve import open_source
from flax_lite.checkpoints.sources.work_directory import complete_steps
from flax_lite.distillation.initialization import init_from_teacher
from flax_lite.layers.sentence_vectors import sentence_vectors
from train import distill
from train.options import cli
from train.options.tables import DISTILL_OPTIONS

NAME = "sentence_student"
_CONFIG = "configs/sentence_student.py"
_LENGTH_STEP = 16
_BATCH = 100


@jax.jit
def _vectors(model: fl.Encoder, batch: Mapping[str, jax.Array]) -> jax.Array:
    hidden = model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).last_hidden_state
    vectors = sentence_vectors(hidden, batch["attention_mask"], 1)[:, 0]
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


def score(model: fl.Encoder, tokenizer: fl.Tokenizer, pairs: Pairs) -> float:
    """Computes Spearman's correlation between cosines and judgments."""

    def embed(texts: list[str]) -> np.ndarray:
        """Returns the vectors of all texts; batches of similar lengths mean few shapes and little padding."""
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
    """Computes the score of every selection of the teacher's layers, untrained; the best comes first."""
    student = fl.Encoder(teacher.config.replace(num_hidden_layers=depth), rngs=nnx.Rngs(0))
    structure = nnx.graphdef(student)
    student_params, teacher_params = ({"encoder": fl.get_params(model)} for model in (student, teacher))
    scores = {}
    for pick in itertools.combinations(range(teacher.config.num_hidden_layers), depth):
        params = init_from_teacher(student_params, teacher_params, pick)["encoder"]
        scores[str(list(pick))] = score(fl.with_params(structure, params), tokenizer, pairs)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def train_student(given: argparse.Namespace, overrides: Sequence[str], seed: int) -> Path | int:
    """Distills one student; returns its work directory, or the job's exit status if it failed."""
    work = given.out / f"seed-{seed}"
    argv = ["--config", _CONFIG, "--workdir", str(work), f"--config.teacher={given.teacher}", f"--config.seed={seed}"]
    argv += ["--config.keep_checkpoints=100", "--config.keep_checkpoints_after=100", *overrides]
    return cli.main("distill", DISTILL_OPTIONS, distill.run, argv) or work


def curve(work: Path, tokenizer: fl.Tokenizer, pairs: Pairs) -> dict[int, float]:
    """Computes the score at each checkpoint of a run."""
    steps = complete_steps(work / "checkpoints")
    return {step: score(fl.Encoder.from_pretrained(f"{work}@{step}"), tokenizer, pairs) for step in steps}


def report(found: Mapping[str, Any]) -> str:
    """Formats the results in Markdown."""
    teacher, picks = found["teacher"], found["picks"]
    best_pick, start = next(iter(picks.items()))
    rows = [["teacher", f"{teacher:.4f}", "", ""]]
    rows.append([f"layers {best_pick}, untrained", f"{start:.4f}", f"{start / teacher:.1%}", "0%"])
    for seed, points in found["curves"].items():
        step, end = list(points.items())[-1]
        name = f"distilled, seed {seed}, {step} steps"
        rows.append([name, f"{end:.4f}", f"{end / teacher:.1%}", f"{(end - start) / (teacher - start):.0%}"])
    table = markdown_table(("model", "score", "of the teacher's", "of the way from the best untrained pick"), rows)
    untrained = ", ".join(f"{pick} {value:.4f}" for pick, value in picks.items())
    heading = f"STS-B development set, {found['pairs']} pairs, Spearman's correlation."
    return f"{heading}\n\n{table}\n\nUntrained picks of the teacher's layers: {untrained}\n"


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draws score over steps, with a line per seed, the teacher and the best untrained pick."""
    figure = plots.new_figure(8, 4.5)
    axes = figure.add_subplot()
    plots.style(axes)
    colors = itertools.cycle((plots.BLUE, plots.ORANGE, plots.GREEN, plots.PINK, plots.YELLOW, plots.SKY))
    for color, (seed, points) in zip(colors, found["curves"].items(), strict=False):
        axes.plot(list(map(int, points)), list(points.values()), "o-", color=color, markersize=4, label=f"seed {seed}")
    for name, value in (("teacher", found["teacher"]), ("best untrained pick", max(found["picks"].values()))):
        axes.axhline(value, color=plots.DARK_GRAY, linewidth=1, linestyle=":")
        where = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": plots.SMALL}
        axes.annotate(f"{name} {value:.4f}", (1.01, value), **where)
    axes.set_xlabel("step")
    axes.set_ylabel("Spearman's correlation, STS-B dev")
    axes.legend(frameon=False, fontsize=plots.SMALL)
    plots.save(figure, path)


def _write_report(found: Mapping[str, Any], folder: Path, stem: str) -> int:
    command.write_text(folder / f"{stem}.md", report(found))
    draw(found, folder / f"{stem}.png")
    print(report(found), end="")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, 2 for a user's mistake, or the exit status of a job that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sentence_student",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--teacher", help="a sentence encoder: directory or hub id")
    parser.add_argument("--pairs", type=Path, help="STS-B's dev.tsv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/sentence_student"), help="directory of the results")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help=command.REPORT_HELP)
    given, overrides = parser.parse_known_args(argv)
    if not given.report and not (given.teacher and given.pairs):
        parser.error("the following arguments are required: --teacher, --pairs")
    return command.run(NAME, lambda given: _run(given, overrides), given)


def _run(given: argparse.Namespace, overrides: Sequence[str]) -> int:
    if given.report:
        return _write_report(json.loads(given.report.read_text()), given.out, given.report.stem)
    pairs = read_pairs(given.pairs)
    teacher, tokenizer = fl.Encoder.from_pretrained(given.teacher), fl.load_tokenizer(given.teacher)
    curves = {}
    for seed in range(1, given.seeds + 1):
        work = train_student(given, overrides, seed)
        if isinstance(work, int):
            return work
        curves[seed] = curve(work, tokenizer, pairs)
    depth = open_source(given.out / "seed-1").config.num_hidden_layers
    picks = score_picks(teacher, depth, tokenizer, pairs)
    found = {"pairs": len(pairs.first), "teacher": score(teacher, tokenizer, pairs), "picks": picks, "curves": curves}
    results.write(given.out / "results.json", found)
    return _write_report(found, given.out, "results")


if __name__ == "__main__":
    sys.exit(main())
