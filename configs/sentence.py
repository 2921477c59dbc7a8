"""A sentence encoder trained on pairs: cosines against judgments, or pairs told from all others of a batch.

Paper: Reimers and Gurevych, 2019, arXiv:1908.10084, section 3.1 and 4.2 (STS benchmark: four epochs, batches of 16,
    2e-5, a tenth of warm-up).
Command: python -m train.finetune --config configs/sentence.py --config.init_from=distilbert-base-uncased \
    --config.data.source=files:STS-B
Hardware: one accelerator, or CPU cores for some thousands of pairs.
Expected: not run.
"""

import ml_collections

from configs import _finetuning

JOB = "finetune"
TASK_OPTIONS = "sentences"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on built-in sentences."""
    config = _finetuning.finetuning("sentences")
    config.batch_size = 16
    config.epochs = 4.0
    columns = config.data.columns = ml_collections.ConfigDict()
    columns.text, columns.text_pair, columns.label = "sentence1", "sentence2", "score"
    columns.header = ()
    config.data.separator = "auto"
    config.data.eval_fraction = 0.1
    sentences = config.sentences = ml_collections.ConfigDict()
    sentences.pooling = "mean"
    sentences.objective = "cosine"
    sentences.most = 5.0
    sentences.temperature = 0.05
    return _finetuning.smoke(config) if variant == "smoke" else config
