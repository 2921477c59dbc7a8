"""What the fine-tuning configs have in common."""

from typing import NamedTuple

import ml_collections
from ml_collections import config_dict

from configs import albert_base


def finetuning(task: str) -> ml_collections.ConfigDict:
    """BERT's recipe: three passes in batches of 32, 2e-5 with a tenth of warm-up, the best of its evaluations.

    Source: Devlin et al. 2018 (arXiv:1810.04805), appendix A.3 (batch 16 or 32, 2e-5 to 5e-5, 2 to 4 epochs), and
        google-research/bert run_classifier.py (three epochs, a tenth of warm-up, weight decay 0.01, clipping at 1).
        That code's optimizer leaves the bias correction out, which makes runs on small sets fail more often (Zhang et
        al. 2020, arXiv:2006.05987): it is in here.
    """
    config, base = ml_collections.ConfigDict(), albert_base.get_config()
    config.task = task
    config.seed = 1
    config.batch_size = 32
    config.accumulation_steps = 1
    config.total_steps = 1
    config.log_every_steps = 20
    config.eval_every_steps = 1
    config.checkpoint_every_steps = 1
    config.keep_checkpoints = 1
    config.keep_best = True
    config.plot = True
    config.tensorboard = base.tensorboard
    config.profile = base.profile
    config.compilation_cache = base.compilation_cache
    config.init_from = config_dict.placeholder(str)
    config.epochs = 3.0
    config.warmup_fraction = 0.1
    config.evaluations = 6  # two in each pass
    config.early_stopping_evaluations = config_dict.placeholder(int)
    config.seeds = 1
    config.new_head = False
    config.tokenizer = config_dict.placeholder(str)
    config.data = _data()
    config.model = base.model
    config.model.preset = config_dict.placeholder(str)
    config.model.hidden_act = config_dict.placeholder(str)
    config.model.classifier_dropout_prob = config_dict.placeholder(float)
    config.execution = base.execution
    config.mesh = base.mesh
    config.hosts = base.hosts
    config.optimizer = base.optimizer
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 2e-5
    config.optimizer.warmup_steps = 0
    config.teacher = config_dict.placeholder(str)
    config.losses = ml_collections.ConfigDict(
        {"task": 1.0, "soft_cross_entropy": 0.0, "logit_mse": 0.0, "hidden_mse": 0.0}
    )
    config.distill = ml_collections.ConfigDict({"temperature": 2.0, "layer_map": (), "cache_teacher": False})
    config.push_to_hub = config_dict.placeholder(str)
    return config


def by_steps(config: ml_collections.ConfigDict, total_steps: int, warmup_steps: int) -> None:
    """Makes a published number of steps the length of a run, instead of passes over the data."""
    config.epochs = config_dict.placeholder(float)
    config.warmup_fraction = config_dict.placeholder(float)
    config.total_steps = total_steps
    config.optimizer.warmup_steps = warmup_steps


class Published(NamedTuple):
    """A row of the ALBERT paper's Table 14; every one has a classifier dropout of 0.1."""

    learning_rate: float
    batch_size: int
    dropout: float
    total_steps: int
    warmup_steps: int
    sequence_length: int = 512


def as_published(config: ml_collections.ConfigDict, row: Published) -> None:
    """Makes a fine-tuning a row of the ALBERT paper's Table 14, by the optimizer of its code.

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


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Shrinks a fine-tuning to seconds on a laptop: the same code path on a built-in task, from random numbers."""
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


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    data.source = "builtin"
    data.tfds_dir = config_dict.placeholder(str)
    data.sequence_length = 128
    data.max_train_examples = config_dict.placeholder(int)
    data.max_eval_examples = config_dict.placeholder(int)
    data.eval_tokens = 8192
    return data
