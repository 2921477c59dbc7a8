"""ALBERT-base: masked words and sentence order, by the recipe of the paper.

Paper: Lan et al., 2019, arXiv:1909.11942, section 4.1 and appendix; code: google-research/albert
    (create_pretraining_data.py,
run_pretraining.py).
Command: python -m train.pretrain --config configs/albert_base.py --config.data.source='text:corpus/*.txt'
Hardware: the paper used 64 to 512 chips of TPU v3.
Expected: masked-LM accuracy 54.0% and sentence-order accuracy 86.5% after 125k steps on Wikipedia and BookCorpus (the
    paper's Table 5).
Not run by us.
"""

import ml_collections
from ml_collections import config_dict


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """The experiment; `smoke` is the same code path in seconds, on the built-in corpus."""
    config = ml_collections.ConfigDict()
    config.seed = 12345  # google-research/albert's random_seed
    config.batch_size = 4096
    # Micro-batches per step: raise it until a batch fits the devices. It changes the dropout draw, so it is fixed
    # within a run.
    config.accumulation_steps = 1
    config.total_steps = 125_000
    config.log_every_steps = 100
    config.eval_every_steps = 5000
    config.checkpoint_every_steps = 1000
    config.keep_checkpoints = 5
    config.keep_best = False
    config.plot = True
    config.tensorboard = False
    config.profile = ml_collections.ConfigDict({"first_step": config_dict.placeholder(int), "num_steps": 5})
    config.compilation_cache = "auto"
    config.init_from = config_dict.placeholder(str)
    config.tokenizer = "train:unigram:30000"  # or the path of a spiece.model or vocab.txt
    config.data = _data()
    config.model = _model()
    config.execution = _execution()
    config.optimizer = _optimizer()
    config.mesh = ml_collections.ConfigDict({"data": -1, "fsdp": 1})
    # JAX's own values.
    config.hosts = ml_collections.ConfigDict({"heartbeat_seconds": 100, "initialization_seconds": 300})
    return smoke(config) if variant == "smoke" else config


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    data.source = "text:corpus/*.txt"
    data.mixture = ()
    data.eval_source = config_dict.placeholder(str)
    data.eval_fraction = 0.005
    data.max_eval_rows = 4096
    data.rows = "pairs"
    data.texts = "documents"
    data.sequence_length = 512
    # 15% of 512 tokens. The released code defaults to 20, which at this length predicts 4% of them; the paper does not
    # say.
    data.max_predictions = 77
    data.masked_fraction = 0.15
    data.masking = "rows"
    data.mask_smoothing = 0.0
    data.max_ngram = 3
    data.whole_word = True
    data.short_seq_prob = 0.1
    data.pair_task = "sop"
    data.workers = 8
    data.prepare_workers = config_dict.placeholder(int)
    data.cache_dir = config_dict.placeholder(str)
    data.builtin_documents = 20_000
    data.split_paragraphs = True
    data.text_column = "text"
    data.tfds_dir = config_dict.placeholder(str)
    return data


def _model() -> ml_collections.ConfigDict:
    model = ml_collections.ConfigDict()
    # The paper's runs are version 1, with dropout 0.1. Google's code computes tanh GELU, which config.json of version 1
    # calls "gelu".
    model.preset = "albert-base-v1"
    model.hidden_act = "gelu_new"
    for name in (
        "embedding_size",
        "hidden_size",
        "num_hidden_layers",
        "num_hidden_groups",
        "inner_group_num",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
    ):
        model[name] = config_dict.placeholder(int)
    model.hidden_dropout_prob = config_dict.placeholder(float)
    model.attention_probs_dropout_prob = config_dict.placeholder(float)
    model.initializer_range = config_dict.placeholder(float)
    return model


def _execution() -> ml_collections.ConfigDict:
    execution = ml_collections.ConfigDict()
    execution.dtype = "auto"
    execution.unroll = config_dict.placeholder(int)
    execution.remat = "none"
    execution.attention = "auto"
    execution.deterministic = False
    return execution


def _optimizer() -> ml_collections.ConfigDict:
    optimizer = ml_collections.ConfigDict()
    optimizer.name = "lamb"
    optimizer.learning_rate = 0.00176
    optimizer.schedule = "linear"
    optimizer.decay_from = config_dict.placeholder(str)
    optimizer.warmup_steps = 3125
    optimizer.weight_decay = 0.01
    optimizer.b1 = 0.9
    optimizer.b2 = 0.999
    optimizer.eps = 1e-6
    optimizer.bias_correction = config_dict.placeholder(bool)
    optimizer.clip_norm = 1.0
    return optimizer


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Shrinks an experiment to seconds on a laptop: the same code path on the built-in corpus."""
    config.batch_size = 16
    config.total_steps = 8
    config.log_every_steps = 2
    config.eval_every_steps = 4
    config.checkpoint_every_steps = 4
    config.tokenizer = (
        f"train:{config.tokenizer.split(':')[1]}:600" if config.tokenizer.startswith("train:") else config.tokenizer
    )
    config.data.source = "builtin"
    config.data.mixture = ()
    config.data.builtin_documents = 200
    config.data.max_eval_rows = 32
    config.data.sequence_length = 64
    config.data.max_predictions = 10
    config.data.workers = 0
    config.model.hidden_size = 32
    config.model.num_hidden_layers = 2
    config.model.num_attention_heads = 2
    config.model.intermediate_size = 64
    if (config.model.preset or "").startswith("albert"):
        config.model.embedding_size = 16
    config.optimizer.warmup_steps = 2
    return config
