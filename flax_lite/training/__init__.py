"""Losses, objectives, optimizers and pure train steps."""

from flax_lite.training.losses import (
    cosine_distance,
    cross_entropy,
    distillation_kl,
    logit_squared_error,
    mean_squared_error,
    sum_in_chunks,
    weighted_cross_entropy,
)
from flax_lite.training.objective import Objective, averages, masked_lm_objective, pretraining_objective
from flax_lite.training.optim import adamw, lamb, make_optimizer, make_schedule
from flax_lite.training.sentence_objectives import sentence_objective
from flax_lite.training.steps import init_state, make_eval_step, make_train_step
from flax_lite.training.task_objectives import Teaching, task_objective

__all__ = [
    "Objective",
    "Teaching",
    "adamw",
    "averages",
    "cosine_distance",
    "cross_entropy",
    "distillation_kl",
    "init_state",
    "lamb",
    "logit_squared_error",
    "make_eval_step",
    "make_optimizer",
    "make_schedule",
    "make_train_step",
    "masked_lm_objective",
    "mean_squared_error",
    "pretraining_objective",
    "sentence_objective",
    "sum_in_chunks",
    "task_objective",
    "weighted_cross_entropy",
]
