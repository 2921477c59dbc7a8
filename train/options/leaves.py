"""Every leaf of a job's config, declared once: path, part of the run's identity or free, type and meaning."""

from collections.abc import Iterable

from train.options.schema import Leaf

# *identity* leaves decide which numbers come out: a difference on resume is refused. *free* leaves change only how, how
# often or where. `total_steps` is the one identity leaf that may grow, with --extend.
RUN_LEAVES = (
    Leaf("seed", "identity", int, "seed of parameters, dropout, masks and data order", at_least=0),
    Leaf("batch_size", "identity", int, "rows per step, over all devices", at_least=1),
    Leaf("accumulation_steps", "identity", int, "micro-batches whose gradients make one step", at_least=1),
    Leaf("total_steps", "identity", int, "steps to train for; more of them on resume needs --extend", at_least=1),
    Leaf("log_every_steps", "free", int, "steps between two lines of metrics.jsonl", at_least=1),
    Leaf("eval_every_steps", "free", int, "steps between two evaluations", at_least=1),
    Leaf("checkpoint_every_steps", "free", int, "steps between two checkpoints", at_least=1),
    Leaf("keep_checkpoints", "free", int, "newest checkpoints to keep", at_least=1),
    Leaf("keep_best", "free", bool, "keep the best evaluated checkpoint too, and make it model/"),
    Leaf("plot", "free", bool, "draw loss.png and accuracy.png"),
    Leaf("tensorboard", "free", bool, "write TensorBoard's event files as well"),
    Leaf("profile.first_step", "free", int | None, "first step to make a profile of; none: no profile", at_least=1),
    Leaf("profile.num_steps", "free", int, "steps that are profiled", at_least=1),
    Leaf(
        "compilation_cache",
        "free",
        str | None,
        "directory that keeps compiled programs; auto: the user's cache, on a CPU none",
        is_place=True,
    ),
    Leaf("hosts.heartbeat_seconds", "free", int, "silence after which another host counts as lost", at_least=1),
    Leaf("hosts.initialization_seconds", "free", int, "time that hosts have to find each other", at_least=1),
    Leaf(
        "init_from",
        "identity",
        str | None,
        "model to start from: directory, hub id, ...; none: drawn from the seed",
        is_place=True,
    ),
)

SEQUENCE_LENGTH = Leaf("data.sequence_length", "identity", int, "tokens per row, specials included", at_least=8)
TFDS_DIR = Leaf(
    "data.tfds_dir", "free", str | None, "where tfds sets were prepared; none: tfds's own default", is_place=True
)

CORPUS_LEAVES = (
    Leaf(
        "data.source", "identity", str, "builtin | text:GLOB | parquet:GLOB | tfds:NAME[/CONFIG][:SPLIT]", is_place=True
    ),
    Leaf(
        "data.mixture", "identity", tuple, "(('SOURCE', share of the text), ...), instead of data.source", is_place=True
    ),
    Leaf("data.eval_source", "identity", str | None, "held-out data; none: a fraction of data.source", is_place=True),
    Leaf("data.eval_fraction", "identity", float, "held-out fraction of the documents, by hash", at_least=0),
    Leaf("data.max_eval_rows", "identity", int, "held-out rows scored at each evaluation", at_least=1),
    SEQUENCE_LENGTH,
    Leaf("data.workers", "free", int, "processes that prepare rows; 0: in this one", at_least=0),
    Leaf("data.prepare_workers", "free", int | None, "processes that tokenise; none: one for each core", at_least=1),
    Leaf("data.cache_dir", "free", str | None, "where tokenised data is kept; none: the user's cache", is_place=True),
    Leaf("data.split_paragraphs", "identity", bool, "cut paragraphs into sentences"),
    Leaf("data.text_column", "identity", str, "where jsonl, parquet and tfds hold the text"),
    TFDS_DIR,
    Leaf("data.builtin_documents", "identity", int, "documents the built-in source generates", at_least=1),
)

# The `teacher` that is drawn.
RANDOM = "random"

DEVICE_LEAVES = (
    Leaf(
        "tokenizer",
        "identity",
        str | None,
        "directory, file, hub id, or train:KIND:SIZE; none: init_from's",
        is_place=True,
    ),
    Leaf(
        "tokenizer_case",
        "identity",
        str | None,
        "train:KIND:SIZE: case of the text; none: lower",
        choices=("lower", "keep"),
        implied=True,
    ),
    Leaf(
        "tokenizer_accents",
        "identity",
        str | None,
        "train:KIND:SIZE: accents; none: auto, which drops them where under 1% of the text has any",
        choices=("auto", "strip", "keep"),
        implied=True,
    ),
    Leaf("model.preset", "identity", str | None, "a released architecture, as albert-base-v2; none: init_from's"),
    Leaf("execution.dtype", "free", str, "computation type", choices=("auto", "float32", "bfloat16")),
    Leaf(
        "execution.unroll",
        "free",
        int | None,
        "layers unrolled per scan iteration, 0 all of them; none: chosen",
        at_least=0,
    ),
    Leaf("execution.remat", "free", str, "what the backward pass recomputes", choices=("none", "dots", "full")),
    Leaf("execution.attention", "free", str, "attention implementation", choices=("auto", "xla", "cudnn")),
    Leaf("execution.deterministic", "free", bool, "bit-equal reruns on GPU too, at some cost"),
    Leaf("optimizer.name", "identity", str, "update rule", choices=("lamb", "adamw")),
    Leaf("optimizer.learning_rate", "identity", float, "peak learning rate", at_least=0),
    Leaf("optimizer.schedule", "identity", str, "decay after warm-up", choices=("linear", "constant")),
    Leaf(
        "optimizer.decay_from",
        "identity",
        str | None,
        "where a linear decay counts from: step 0 (Google's), or the end of the warm-up (Hugging Face's); none: start",
        choices=("start", "peak"),
        implied=True,
    ),
    Leaf("optimizer.warmup_steps", "identity", int, "steps of linear warm-up", at_least=0),
    Leaf("optimizer.weight_decay", "identity", float, "decay of kernels and embeddings", at_least=0),
    Leaf("optimizer.b1", "identity", float, "first moment's decay", at_least=0),
    Leaf("optimizer.b2", "identity", float, "second moment's decay", at_least=0),
    Leaf("optimizer.eps", "identity", float, "added to the root of the second moment", at_least=0),
    Leaf(
        "optimizer.bias_correction",
        "identity",
        bool | None,
        "of both moments, early on; none: adamw's with, lamb's without, as Google's",
        implied=True,
    ),
    Leaf(
        "optimizer.clip_norm",
        "identity",
        float | None,
        "global gradient norm limit; none or 0: no clipping",
        at_least=0,
    ),
    Leaf("mesh.data", "free", int, "devices that split the batch; -1: all that are left", at_least=-1),
    Leaf("mesh.fsdp", "free", int, "devices that split batch, parameters and optimizer state", at_least=-1),
)

COMMON_LEAVES = (*RUN_LEAVES, *CORPUS_LEAVES, *DEVICE_LEAVES)


def _overrides(rows: Iterable[tuple[str, type, str]]) -> tuple[Leaf, ...]:
    return tuple(
        Leaf(f"model.{name}", "identity", form | None, f"{doc}; none: the preset's") for name, form, doc in rows
    )


MODEL_LEAVES = _overrides(
    (
        ("embedding_size", int, "embedding width E"),
        ("hidden_size", int, "model width D"),
        ("num_hidden_layers", int, "depth"),
        ("num_hidden_groups", int, "groups that share parameters (ALBERT)"),
        ("inner_group_num", int, "layers inside a group (ALBERT)"),
        ("num_attention_heads", int, "attention heads N"),
        ("intermediate_size", int, "feed-forward width F"),
        ("hidden_act", str, "feed-forward activation"),
        ("hidden_dropout_prob", float, "dropout of embeddings and layer outputs"),
        ("attention_probs_dropout_prob", float, "dropout of attention probabilities"),
        ("max_position_embeddings", int, "longest sequence"),
        ("initializer_range", float, "deviation of the first kernels and embeddings"),
    )
)

MASK_LEAVES = (
    Leaf("data.max_predictions", "identity", int, "masked positions per row, at most", at_least=1),
    Leaf("data.masked_fraction", "identity", float, "fraction of tokens to predict", at_least=0),
    Leaf(
        "data.masking",
        "identity",
        str,
        "masks drawn for each row, or single tokens over the whole batch, on the device",
        choices=("rows", "batch"),
    ),
    Leaf(
        "data.mask_smoothing",
        "identity",
        float,
        "masking=batch: chance of a token proportional to its count to the power of minus this",
        at_least=0,
    ),
    Leaf("data.max_ngram", "identity", int, "longest masked span in words", at_least=1),
    Leaf("data.whole_word", "identity", bool, "mask whole words"),
    Leaf("data.texts", "identity", str, "rows=packed: what a text is", choices=("documents", "sentences")),
)

PRETRAIN_LEAVES = (
    *COMMON_LEAVES,
    *MODEL_LEAVES,
    *MASK_LEAVES,
    Leaf(
        "data.rows", "identity", str, "pairs with a sentence task, or single texts packed", choices=("pairs", "packed")
    ),
    Leaf("data.short_seq_prob", "identity", float, "probability of a shorter row", at_least=0),
    Leaf("data.pair_task", "identity", str, "what the sentence head learns", choices=("sop", "nsp")),
)


def _losses(rows: Iterable[tuple[str, str]]) -> tuple[Leaf, ...]:
    return tuple(
        Leaf(f"losses.{name}", "identity", float, f"weight of {doc}; 0: not optimised", at_least=0)
        for name, doc in rows
    )


LOSS_LEAVES = _losses(
    (
        ("soft_cross_entropy", "the divergence from the teacher's words"),
        ("logit_mse", "the squared error of the teacher's logits"),
        ("mlm", "the masked words themselves"),
        ("cosine", "the angle between the last hidden states"),
        ("hidden_mse", "the squared error of hidden states"),
        ("embedding_mse", "the squared error of embeddings"),
        ("attention_mse", "the squared error of attention scores (TinyBERT)"),
        ("attention_relation", "the divergence of attention (MiniLM)"),
        ("query_relation", "the divergence of the queries' relations (MiniLMv2)"),
        ("key_relation", "the divergence of the keys' relations (MiniLMv2)"),
        ("value_relation", "the divergence of the values' relations (MiniLM, v2)"),
        ("sentence_mse", "the squared error of the texts' mean vectors"),
    )
)

DISTILL_LEAVES = (
    *COMMON_LEAVES,
    *MODEL_LEAVES,
    *MASK_LEAVES,
    Leaf(
        "teacher",
        "free",
        str | None,
        "model to learn from: directory, hub id, ...; random: a tiny one, to try things",
        is_place=True,
    ),
    Leaf("trim_vocabulary", "identity", bool, "leave out the pieces that the training text does not use"),
    Leaf(
        "student.init", "identity", str, "what the student begins as, without init_from", choices=("teacher", "random")
    ),
    Leaf(
        "student.layers",
        "identity",
        tuple,
        "init=teacher: the teacher's layers to take, as (0, 2, 4), of a shared layer those to average; (): spread",
    ),
    *LOSS_LEAVES,
    Leaf("distill.temperature", "identity", float, "T of the soft cross-entropy", above=0),
    Leaf("distill.restrict_ce_to_mask", "identity", bool, "losses on logits see masked words only"),
    Leaf("distill.layer_map", "identity", tuple, "((teacher's layer, student's), ...) of *_mse losses; (): spread"),
    Leaf("distill.relation_layers", "identity", tuple, "(teacher's layer, student's) of *_relation losses"),
    Leaf("distill.relation_heads", "identity", int | None, "heads of the relations; none: the teacher's", at_least=1),
    Leaf("distill.project", "identity", bool, "learn a map from the student's width to the teacher's"),
    Leaf(
        "distill.teacher_dtype",
        "free",
        str,
        "the teacher's computation type and parameters",
        choices=("auto", "float32", "bfloat16"),
    ),
    Leaf("distill.logit_chunks", "free", int, "parts of a row whose logits exist at a time", at_least=2),
)

# By the name of the job that a config is for, which is its JOB. Those of fine-tuning are in
# `train.options.task_leaves`.
JOB_LEAVES = {"pretrain": PRETRAIN_LEAVES, "distill": DISTILL_LEAVES}
