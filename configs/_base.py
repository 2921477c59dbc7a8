"""The base of every config: all groups of options, no values. Defaults are in train/options/tables.py."""

import ml_collections


def experiment() -> ml_collections.ConfigDict:
    """Returns a config that sets no option, with the groups that options are assigned in.

    Groups that a job does not have may stay empty.
    """
    groups = ("model", "execution", "optimizer", "mesh", "hosts", "profile")
    groups += ("student", "losses", "distill", "answers", "sentences")  # distillation and fine-tuning
    return ml_collections.ConfigDict({"data": {"columns": {}}, **{name: {} for name in groups}})


def smoke(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Shrinks a pretraining to seconds on a laptop: the same code path on the built-in corpus."""
    config.batch_size = 16
    config.total_steps = 8
    config.log_every_steps = 2
    config.eval_every_steps = 4
    config.checkpoint_every_steps = 4
    if (config.get("tokenizer") or "").startswith("train:"):
        config.tokenizer = f"train:{config.tokenizer.split(':')[1]}:600"
    config.data.source = "builtin"
    config.data.builtin_documents = 200
    config.data.max_eval_rows = 32
    config.data.sequence_length = 64
    config.data.max_predictions = 10
    config.data.workers = 0
    config.model.hidden_size = 32
    config.model.num_hidden_layers = 2
    config.model.num_attention_heads = 2
    config.model.intermediate_size = 64
    if (config.model.get("preset") or "").startswith("albert"):
        config.model.embedding_size = 16
    config.optimizer.warmup_steps = 2
    return config
