"""Distillation: initialization of students, losses against a teacher, and objectives."""

from flax_lite.distillation.initialization import factorized, init_from_teacher
from flax_lite.distillation.objective import Projections, distillation_objective, fit_recipe
from flax_lite.distillation.recipe import DistillationRecipe, uniform_layer_map
from flax_lite.distillation.relations import attention_divergence, attention_score_error, relation_divergence
from flax_lite.distillation.vocabulary import seen_ids, trim_config, trim_params

__all__ = [
    "DistillationRecipe",
    "Projections",
    "attention_divergence",
    "attention_score_error",
    "distillation_objective",
    "factorized",
    "fit_recipe",
    "init_from_teacher",
    "relation_divergence",
    "seen_ids",
    "trim_config",
    "trim_params",
    "uniform_layer_map",
]
