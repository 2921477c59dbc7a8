"""Choosing among continuations: RACE and SWAG.

Paper: Lan et al., 2019, arXiv:1909.11942, Table 14, for RACE, made for ALBERT-xxlarge; `race_v2` is for version 2 of
    ALBERT, which diverges at that rate: half of it, without dropout (google-research/albert, README).
    Devlin et al., 2018, arXiv:1810.04805, section 4.4, for SWAG (3 epochs, 16 examples, 2e-5).
Command: python -m train.finetune --config configs/multiple_choice.py:race_v2 --config.init_from=albert-base-v2 \
    --config.data.source=files:RACE
Hardware: one accelerator.
Result: not run. google-research/albert, README: ALBERT-base 64.0% (v1) and 66.8% (v2) on RACE.
"""

import ml_collections

from configs import _finetuning
from configs._finetuning import Published

JOB = "finetune"
TASK_OPTIONS = "choices"
VARIANTS = ("race", "race_v2", "swag")

_RACE = {"race": Published(2e-5, 32, 0.1, 12000, 1000), "race_v2": Published(1e-5, 32, 0.0, 12000, 1000)}


def get_config(variant: str = "race") -> ml_collections.ConfigDict:
    """Returns the experiment of one task."""
    task, *options = variant.split(",")
    config = _finetuning.finetuning(task.removesuffix("_v2"))
    if task in _RACE:
        _finetuning.as_published(config, _RACE[task])
        config.model.classifier_dropout_prob = 0.1
    else:
        config.batch_size = 16
    return _finetuning.smoke(config) if "smoke" in options else config
