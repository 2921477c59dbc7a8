"""Fixtures: a finished run of each job, made once, and data to fine-tune on."""

import contextlib

import numpy as np
import pytest

from tests.train.commands import Command, Finished
from train.run import loop

GOOD = ["bright", "warm", "gentle", "kind", "sunny", "calm"]
BAD = ["dark", "cold", "harsh", "cruel", "stormy", "loud"]
FILLERS = ["day", "house", "road", "river", "garden", "window", "morning", "evening"]


@pytest.fixture(scope="session")
def finish(once, shared_temp):
    """`finish(name, command)`: runs the command to its end, in one of the test processes."""

    def finish(name, command, *overrides):
        def make(directory):
            with contextlib.ExitStack() as stack:
                patch = stack.enter_context(pytest.MonkeyPatch.context())
                patch.setenv("FLAX_LITE_CACHE", str(shared_temp / "cache"))  # a test's own is set later
                file = stack.enter_context((directory / "printed").open("w"))
                stack.enter_context(contextlib.redirect_stdout(file))
                assert command.main(directory / "work", *overrides) == 0

        directory = once(name, make)
        return Finished(command, directory / "work", (directory / "printed").read_text())

    return finish


# No wider than the smoke runs, because resumed runs are compared bit by bit: with kernels of 128 x 512, two runs of one
# program on a CPU's threads differed in the last bit (JAX 0.10.2).
@pytest.fixture(scope="session")
def finished_pretrain(finish):
    """An ALBERT with gradient accumulation and dropout."""
    overrides = ("log_every_steps=1", "accumulation_steps=2", "keep_checkpoints_after=5", "model_format=both")
    return finish("pretrain", Command("pretrain", "configs/albert_base.py:smoke", overrides))


@pytest.fixture(scope="session")
def finished_teacher(finish):
    """A BERT of four layers, scanned, which compiles faster."""
    changes = ("model.num_hidden_layers=4", "execution.unroll=1")
    changes += ("total_steps=2", "optimizer.warmup_steps=1", "eval_every_steps=2", "checkpoint_every_steps=1")
    changes += ("keep_checkpoints_after=5",)
    return finish("teacher", Command("pretrain", "configs/bert_tiny.py:smoke", (*changes, "plot=false")))


@pytest.fixture(scope="session")
def teacher(finished_teacher):
    """The teacher's work directory."""
    return finished_teacher.workdir


@pytest.fixture(scope="session")
def finished_distill(finish, teacher):
    """A student with dropout, and masks drawn over the batch in the step, as DistilBERT's."""
    batch = ("data.masking=batch", "data.mask_smoothing=0.7", "model.hidden_dropout_prob=0.1")
    overrides = (f"teacher={teacher}", "tokenizer=none", "log_every_steps=1", "keep_checkpoints_after=5", *batch)
    return finish("distill", Command("distill", "configs/distilbert_tiny.py:smoke", overrides))


@pytest.fixture(scope="session")
def table(once):
    """A source of labeled texts."""
    return f"files:{once('table', lambda directory: write_table(directory, 200))}"


@pytest.fixture(scope="session")
def classify(table):
    """The command that trains a classifier on them."""
    fixed = ("data.max_train_examples=none", "data.max_eval_examples=none", "total_steps=60", "evaluations=3")
    fixed += ("model.num_hidden_layers=1", "model.initializer_range=0.1", "optimizer.learning_rate=0.01", "plot=false")
    return Command("finetune", "configs/classify.py:smoke", (f"data.source={table}", *fixed, "log_every_steps=1"))


@pytest.fixture(scope="session")
def finished_finetune(finish, classify):
    """A classifier, with the checkpoints of all its evaluations."""
    return finish("finetune", classify, "keep_checkpoints=3", "keep_checkpoints_after=3")


@pytest.fixture
def built(monkeypatch):
    """A function that builds a command's job, on its data, and returns it instead of training."""

    def built(command, workdir, *overrides):
        jobs = []
        with monkeypatch.context() as patch:
            patch.setattr(loop, "fit", lambda job, *_: jobs.append(job))
            assert command.main(workdir, *overrides) == 0
        (job,) = jobs
        return job

    return built


def write_table(folder, count, seed=0, header="text\tlabel"):
    """Writes texts of filler words around one word that determines the label."""
    draw = np.random.default_rng(seed)
    lines = [header]
    for number in range(count):
        words = [*draw.choice(FILLERS, draw.integers(2, 20)), draw.choice((GOOD, BAD)[number % 2])]
        lines.append(f"{' '.join(draw.permutation(words))}\t{('good', 'bad')[number % 2]}")
    folder.mkdir(exist_ok=True)
    (folder / "train.tsv").write_text("\n".join(lines[: count + 1]) + "\n")
    (folder / "dev.tsv").write_text("\n".join([header, *lines[-40:]]) + "\n")
