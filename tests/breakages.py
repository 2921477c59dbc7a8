"""Forty deliberate breakages of the code that the tests have to catch.

`python -m tests.breakages [NAME ...]` applies one breakage at a time to a copy of this checkout, runs the tests of its
area until the first failure, and prints the test that caught it.

A breakage refers to its code by symbol, so that it remains valid when the code around it changes or moves.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent


class Breakage(NamedTuple):
    """Replaces `old`, which occurs once in the source of `symbol` ("module:name"), by `new`; `tests` must catch it."""

    symbol: str
    old: str
    new: str
    tests: str

    @property
    def path(self) -> str:
        return self.symbol.partition(":")[0].replace(".", "/") + ".py"

    def broken(self, source: str) -> str:
        """Returns the module's source with the breakage.

        Raises:
          LookupError: the symbol does not exist, or does not contain `old` exactly once.
        """
        begin, end = _lines_of(ast.parse(source), self.symbol.partition(":")[2].split("."))
        lines = source.splitlines(keepends=True)
        segment = "".join(lines[begin:end])
        if segment.count(self.old) != 1:
            raise LookupError(f"{self.symbol} contains {segment.count(self.old)} times: {self.old}")
        return "".join([*lines[:begin], segment.replace(self.old, self.new), *lines[end:]])


def _lines_of(node: ast.AST, names: list[str]) -> tuple[int, int]:
    """Returns the first line (from 0) and the end of the definition of a name or of the assignment to it."""
    for child in ast.iter_child_nodes(node):
        defined = [getattr(child, "name", None)]
        if isinstance(child, ast.Assign):
            defined = [getattr(target, "id", None) for target in child.targets]
        if names[0] in defined:
            return _lines_of(child, names[1:]) if names[1:] else (child.lineno - 1, child.end_lineno)
    raise LookupError(f"no {names[0]}")


_LIB, _JOBS = "tests/flax_lite", "tests/train"
BREAKAGES = {
    # Masking.
    "masked n-grams may overlap": Breakage(
        "flax_lite.rows.masking:_choose_ngrams",
        " or chosen.find(1, start, end) >= 0",
        "",
        f"{_LIB}/rows/masking_test.py",
    ),
    "no masked token becomes a random one": Breakage(
        "flax_lite.rows.masking:_replace_tokens", "action < 0.9", "action < 1.0", f"{_LIB}/rows/masking_test.py"
    ),
    "masks over the batch count padding": Breakage(
        "flax_lite.rows.token_masks:mask_tokens",
        "jnp.sum(is_real, dtype=jnp.int32)",
        "jnp.int32(is_real.size)",
        f"{_LIB}/rows/token_masks_test.py",
    ),
    # Losses.
    "a token without weight makes the loss NaN": Breakage(
        "flax_lite.training.losses:weighted_sum",
        "jnp.where(weights > 0, weights * losses, 0.0)",
        "weights * losses",
        f"{_LIB}/training/losses_test.py {_LIB}/training/steps_test.py {_LIB}/training/task_objectives_test.py",
    ),
    "padding rows of a batch are counted": Breakage(
        "flax_lite.training.objective:masked_weights",
        ' * batch["row_weights"][:, None]',
        "",
        f"{_LIB}/training/steps_test.py {_LIB}/distillation/objective_test.py",
    ),
    "soft cross-entropy is scaled by T": Breakage(
        "flax_lite.training.losses:distillation_kl",
        "temperature**2 *",
        "temperature *",
        f"{_LIB}/training/token_losses_test.py",
    ),
    "the teacher gets a gradient": Breakage(
        "flax_lite.training.losses:distillation_kl",
        "jax.lax.stop_gradient(teacher_logits)",
        "teacher_logits",
        f"{_LIB}/training/token_losses_test.py {_LIB}/distillation/objective_test.py",
    ),
    "relations are scaled by the model's head width": Breakage(
        "flax_lite.distillation.relations:_relation_scores",
        "math.sqrt(width)",
        "math.sqrt(head_width)",
        f"{_LIB}/distillation/relations_test.py",
    ),
    "student layers are rounded down": Breakage(
        "flax_lite.distillation.initialization:spread_layers",
        "last + gaps) //",
        "last) //",
        f"{_LIB}/distillation/initialization_test.py",
    ),
    # LAMB and the schedule.
    "stacked layers share one trust ratio": Breakage(
        "flax_lite.training.optim:_layer_trust_ratio",
        "tuple(range(1, param.ndim)) if stacked else None",
        "None",
        f"{_LIB}/training/optim_test.py",
    ),
    "LAMB's eps is under the root": Breakage(
        "flax_lite.training.optim:_scale_by_uncorrected_adam",
        "m / (jnp.sqrt(v) + eps)",
        "m / jnp.sqrt(v + eps)",
        f"{_LIB}/training/optim_test.py",
    ),
    "LayerNorms decay": Breakage(
        "flax_lite.training.optim:_is_matrix",
        'path.rpartition("/")[2] not in _VECTORS and np.ndim(leaf) - bool(_STACKED.search(path)) >= 2',
        'not path.endswith("bias")',
        f"{_LIB}/training/optim_test.py",
    ),
    "the decay counts from the end of the warm-up": Breakage(
        "flax_lite.training.optim:warmup_polynomial",
        '_choose("decay_from", decay_from, DECAYS) * warmup_steps',
        "warmup_steps",
        f"{_LIB}/training/optim_test.py",
    ),
    "the update is clipped, not the gradient": Breakage(
        "flax_lite.training.optim:make_optimizer",
        "optax.clip_by_global_norm(clip_norm), optimizer",
        "optimizer, optax.clip_by_global_norm(clip_norm)",
        f"{_LIB}/training/optim_test.py",
    ),
    # Dropout sites.
    "DistilBERT has dropout on its attention's output": Breakage(
        "flax_lite.layers.dropout:draw_layer_masks",
        "keep_mask(hidden, config.attention_output_dropout_prob, output_key)",
        "keep_mask(hidden, config.hidden_dropout_prob, output_key)",
        f"{_LIB}/layers/dropout_test.py",
    ),
    "embeddings have no dropout": Breakage(
        "flax_lite.layers.embeddings:Embeddings.__call__",
        "dropout(self.layer_norm(x), self.config.hidden_dropout_prob, key)",
        "self.layer_norm(x)",
        f"{_LIB}/layers/dropout_test.py",
    ),
    "DistilBERT's span head has the hidden dropout rate": Breakage(
        "flax_lite.families.distilbert:DistilBertConfig.span_dropout_prob",
        "return self.qa_dropout_prob",
        "return self.hidden_dropout_prob",
        f"{_LIB}/layers/dropout_test.py {_LIB}/architecture/config_test.py {_LIB}/models/heads_test.py",
    ),
    # Weight tables and checkpoints.
    "ALBERT's second LayerNorm has the first one's name in Google's files": Breakage(
        "flax_lite.families.albert:_WEIGHTS",
        '"LayerNorm_1"',
        '"LayerNorm"',
        f"{_LIB}/checkpoints/sources/google_test.py",
    ),
    "DistilBERT's queries and keys are swapped": Breakage(
        "flax_lite.families.distilbert:_WEIGHTS",
        '"attention.q_lin"),\n                *weights.dense("attention/key", "attention.k_lin")',
        '"attention.k_lin"),\n                *weights.dense("attention/key", "attention.q_lin")',
        f"{_LIB}/models/parity_test.py {_LIB}/models/pretrained_test.py {_LIB}/models/published_test.py",
    ),
    "a tied decoder is transposed": Breakage(
        "flax_lite.checkpoints.expected:_of_weight",
        'not transposed, "tied"',
        'transposed, "tied"',
        f"{_LIB}/models/pretrained_test.py {_LIB}/checkpoints/strictness_test.py",
    ),
    "groups of layers are computed in exact arithmetic": Breakage(
        "flax_lite.architecture.config:EncoderConfig.layer_sequence",
        "int(layer / layers_per_group)",
        "layer * self.num_hidden_groups // self.num_hidden_layers",
        f"{_LIB}/architecture/config_test.py {_LIB}/layers/stack_test.py",
    ),
    "copies of a tensor may differ": Breakage(
        "flax_lite.checkpoints.accounting:Matching.check",
        'if not self._problems["mismatched"]',
        "if False",
        f"{_LIB}/checkpoints/strictness_test.py {_LIB}/models/pretrained_test.py",
    ),
    # Tokenizers.
    "pieces that end in a digit and a comma are reached": Breakage(
        "flax_lite.tokenization.recipes:penalize", "PENALTY if", "score if", f"{_LIB}/tokenization"
    ),
    "a tokenizer's class in config.json is ignored": Breakage(
        "flax_lite.tokenization.settings:tokenizer_class",
        "((SETTINGS_FILE, settings), (CONFIG, config))",
        "((SETTINGS_FILE, settings),)",
        f"{_LIB}/tokenization",
    ),
    "a setting that would change results is accepted": Breakage(
        "flax_lite.files.settings:check_settings", "if wrong:", "if not wrong:", f"{_LIB}/files"
    ),
    "the second text's first token belongs to the first": Breakage(
        "flax_lite.tokenization.tokenizer:Tokenizer._as_arrays",
        "ones : len(ids)",
        "ones + 1 : len(ids)",
        f"{_LIB}/tokenization",
    ),
    "equally frequent pieces are in the trainer's order": Breakage(
        "flax_lite.tokenization.training:_canonical_scores",
        "(-item[1], item[0])",
        "-item[1]",
        f"{_LIB}/tokenization/training_test.py",
    ),
    # Resuming.
    "every step has the same dropout": Breakage(
        "flax_lite.training.steps:make_train_step",
        'jax.random.fold_in(jax.random.key(seed), state["step"])',
        "jax.random.key(seed)",
        f"{_LIB}/training/steps_test.py",
    ),
    "rows past the restored step stay": Breakage(
        "train.run.metrics:MetricsWriter.__init__", "_rewind(path, last_step)", "0, 0", f"{_JOBS}/run/metrics_test.py"
    ),
    "the oldest checkpoint is restored": Breakage(
        "train.run.checkpoints:Checkpoints.restore", "reverse=True", "reverse=False", f"{_JOBS}/run/checkpoints_test.py"
    ),
    "the best checkpoint is pruned": Breakage(
        "train.run.checkpoints:Checkpoints.prune",
        "if step != self.best_step",
        "if step",
        f"{_JOBS}/run",
    ),
    "a signal during a step is ignored": Breakage(
        "train.machine.signals:Guard._handle", "self.signal_name = name", "pass", f"{_JOBS}/run"
    ),
    # Sharding and hosts.
    "stacked layers are split along the depth": Breakage(
        "flax_lite.models.params:_spec",
        '{"largest": 0, "largest_behind_first": 1}[policy]',
        "0",
        f"{_LIB}/models/params_test.py {_JOBS}/machine/mesh_test.py",
    ),
    "every host reads the first rows": Breakage(
        "train.data.pretraining.loader:_host_slice",
        "slice(process_index * share, (process_index + 1) * share)",
        "slice(0, share)",
        f"{_JOBS}/data/pretraining/loader_test.py {_JOBS}/data/pretraining/hosts_test.py",
    ),
    # Readers.
    "document separators are words": Breakage(
        "train.tasks.readers.columns:_blocks",
        ' and not line.startswith("-DOCSTART-")',
        "",
        f"{_JOBS}/tasks/readers/ner_test.py",
    ),
    "IOB1 is read as BIO": Breakage(
        "train.tasks.readers.ner:to_bio", "before[2:] == kind", "True", f"{_JOBS}/tasks/readers/ner_test.py"
    ),
    "a random second segment may be of the same document": Breakage(
        "flax_lite.rows.pairs:_draw_partners", "other += other >= document", "other += 0", f"{_LIB}/rows/pairs_test.py"
    ),
    "positions continue across packed texts": Breakage(
        "train.data.pretraining.rows:PackedRows._compose",
        "np.concatenate([np.arange(size) for size in sizes])",
        "np.arange(sum(sizes))",
        f"{_JOBS}/data/pretraining/packed_rows_test.py {_JOBS}/data/pretraining/rows_test.py",
    ),
    # Metrics.
    "a correct empty answer scores 0": Breakage(
        "train.tasks.scores.squad_metric:f1",
        "float(predicted == expected)",
        "0.0",
        f"{_JOBS}/tasks/scores/squad_metric_test.py",
    ),
    "the best step has the lowest accuracy": Breakage(
        "train.run.best:Best.update", '1 if end == "min" else -1', "1", f"{_JOBS}/run/best_test.py"
    ),
    # Messages.
    "an unknown option suggests no other": Breakage(
        "train.options.schema:nearest",
        'f", nearest is {found[0]}" if found else ""',
        '""',
        f"{_JOBS}/options/schema_test.py {_JOBS}/options/cli_test.py",
    ),
    "a longer run is not offered --extend": Breakage(
        "train.run.workdir:_check_fixed_options", "if raised:", "if False:", f"{_JOBS}/run/workdir_test.py"
    ),
}


def copy_checkout(target: Path) -> None:
    """Copies the files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode().split("\0"):
        if name and (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((REPOSITORY / name).read_bytes())
            (target / name).chmod((REPOSITORY / name).stat().st_mode)


def caught_by(breakage: Breakage, checkout: Path) -> str | None:
    """Returns the first test that fails in a copy of the checkout with the breakage, or None if all pass.

    Raises:
      RuntimeError: the tests could not be run.
    """
    path = checkout / breakage.path
    whole = path.read_text()
    path.write_text(breakage.broken(whole))
    command = [sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider", *breakage.tests.split()]
    try:
        done = subprocess.run(
            command,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},  # precedes an editable install of the checkout
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(whole)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1, 2) or (done.returncode and failed is None):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[1] if failed else None


def main(names: list[str]) -> int:
    """Prints a line per breakage; returns the number of breakages that no test caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.breakages", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"breakages; default: all of {', '.join(BREAKAGES)}")
    names = parser.parse_args(names).names
    if unknown := [name for name in names if name not in BREAKAGES]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(BREAKAGES)}")
    with tempfile.TemporaryDirectory() as folder:
        copy_checkout(Path(folder))
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/compiled")
        missed = 0
        for name in names or BREAKAGES:
            test = caught_by(BREAKAGES[name], Path(folder))
            missed += test is None
            print(f"{name}: {test or 'NOT CAUGHT'}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
