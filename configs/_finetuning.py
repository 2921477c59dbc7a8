"""The recipes that the fine-tuning configs share, and their smoke variant."""

from typing import NamedTuple

import ml_collections

from configs import _base


def finetuning(task: str) -> ml_collections.ConfigDict:
    """Returns BERT's recipe: three epochs in batches of 32, rate 2e-5, a tenth of warm-up; the best evaluation counts.

    Source: Devlin et al. 2018 (arXiv:1810.04805), appendix A.3 (batch 16 or 32, 2e-5 to 5e-5, 2 to 4 epochs), and
        google-research/bert run_classifier.py (three epochs, a tenth of warm-up, weight decay 0.01, clipping at 1).
        That code omits the bias correction, which makes runs on small sets fail more often (Zhang et al. 2020,
        arXiv:2006.05987), so it is kept here.
    """
    config = _base.experiment()
    config.task = task
    config.seed = 1
    config.batch_size = 32
    config.epochs = 3.0
    config.warmup_fraction = 0.1
    config.evaluations = 6  # two in each epoch
    # Replaced by what follows from epochs and evaluations.
    config.total_steps = config.eval_every_steps = config.checkpoint_every_steps = 1
    config.log_every_steps = 20
    config.keep_checkpoints = 1
    config.keep_best = True
    config.optimizer.learning_rate = 2e-5
    return config


class Published(NamedTuple):
    """A row of the ALBERT paper's Table 14; each has a classifier dropout of 0.1."""

    learning_rate: float
    batch_size: int
    dropout: float
    total_steps: int
    warmup_steps: int
    sequence_length: int = 512


def as_published(config: ml_collections.ConfigDict, row: Published) -> None:
    """Gives a config a row of the ALBERT paper's Table 14, and the optimizer of its code.

    Source: Lan et al. 2019 (arXiv:1909.11942), Table 14; google-research/albert, optimization.py (AdamW without bias
        correction, whose early updates are up to 6.5 times as large).
    """
    by_steps(config, row.total_steps, row.warmup_steps)
    config.batch_size = row.batch_size
    config.data.sequence_length = row.sequence_length
    config.optimizer.learning_rate = row.learning_rate
    config.optimizer.bias_correction = False
    config.model.hidden_dropout_prob = row.dropout
    config.model.attention_probs_dropout_prob = row.dropout


def by_steps(config: ml_collections.ConfigDict, total_steps: int, warmup_steps: int) -> None:
    """Sets the length of a run in steps instead of epochs."""
    config.epochs = config.warmup_fraction = None
    config.total_steps = total_steps
    config.optimizer.warmup_steps = warmup_steps


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Shrinks a fine-tuning to seconds on a laptop: the same code path on a built-in task, from random parameters."""
    by_steps(config, 8, 2)
    config.batch_size = 16
    config.log_every_steps = 2
    config.evaluations = 2
    config.tokenizer = "train:wordpiece:600"
    config.data.source = "builtin"
    config.data.max_train_examples = 64
    config.data.max_eval_examples = 32
    config.data.sequence_length = 64
    config.data.eval_tokens = 1024
    config.optimizer.learning_rate = 1e-3
    config.model.preset = "distilbert-base-uncased"
    config.model.hidden_size = 32
    config.model.num_hidden_layers = 2
    config.model.num_attention_heads = 2
    config.model.intermediate_size = 64
    return config
