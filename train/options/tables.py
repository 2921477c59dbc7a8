"""Every option of a job's config, declared once: path, part of the run's identity or free, type and meaning."""

from collections.abc import Iterable

from train.options.schema import Option

# Options *fixed on resume* decide which numbers come out: a difference is refused. *Free* options change only how, how
# often or where. `total_steps` is the one option fixed on resume that may grow, with --extend.
RUN_OPTIONS = (
    Option("seed", "fixed", int, "seed of parameters, dropout, masks and data order", at_least=0),
    Option("batch_size", "fixed", int, "rows per step, over all devices", at_least=1),
    Option("accumulation_steps", "fixed", int, "micro-batches whose gradients make one step", at_least=1),
    Option("total_steps", "fixed", int, "steps to train for; more of them on resume needs --extend", at_least=1),
    Option("log_every_steps", "free", int, "steps between two lines of metrics.jsonl", at_least=1),
    Option("eval_every_steps", "free", int, "steps between two evaluations", at_least=1),
    Option("checkpoint_every_steps", "free", int, "steps between two checkpoints", at_least=1),
    Option("keep_checkpoints", "free", int, "newest checkpoints to keep", at_least=1),
    Option("keep_best", "free", bool, "keep the best evaluated checkpoint too, and make it model/"),
    Option("plot", "free", bool, "draw loss.png and accuracy.png"),
    Option("tensorboard", "free", bool, "write TensorBoard's event files as well"),
    Option("profile.first_step", "free", int | None, "first step to make a profile of; none: no profile", at_least=1),
    Option("profile.num_steps", "free", int, "steps that are profiled", at_least=1),
    Option(
        "compilation_cache",
        "free",
        str | None,
        "directory that keeps compiled programs; auto: the user's cache, on a CPU none",
        is_place=True,
    ),
    Option("hosts.heartbeat_seconds", "free", int, "silence after which another host counts as lost", at_least=1),
    Option("hosts.initialization_seconds", "free", int, "time that hosts have to find each other", at_least=1),
    Option(
        "init_from",
        "fixed",
        str | None,
        "model to start from: directory, hub id, ...; none: drawn from the seed",
        is_place=True,
    ),
)

SEQUENCE_LENGTH = Option("data.sequence_length", "fixed", int, "tokens per row, specials included", at_least=8)
TFDS_DIR = Option(
    "data.tfds_dir", "free", str | None, "where tfds sets were prepared; none: tfds's own default", is_place=True
)

CORPUS_OPTIONS = (
    Option(
        "data.source", "fixed", str, "builtin | text:GLOB | parquet:GLOB | tfds:NAME[/CONFIG][:SPLIT]", is_place=True
    ),
    Option(
        "data.mixture", "fixed", tuple, "(('SOURCE', share of the text), ...), instead of data.source", is_place=True
    ),
    Option("data.eval_source", "fixed", str | None, "held-out data; none: a fraction of data.source", is_place=True),
    Option("data.eval_fraction", "fixed", float, "held-out fraction of the documents, by hash", at_least=0),
    Option("data.max_eval_rows", "fixed", int, "held-out rows scored at each evaluation", at_least=1),
    SEQUENCE_LENGTH,
    Option("data.workers", "free", int, "processes that prepare rows; 0: in this one", at_least=0),
    Option("data.prepare_workers", "free", int | None, "processes that tokenize; none: one for each core", at_least=1),
    Option("data.cache_dir", "free", str | None, "where tokenized data is kept; none: the user's cache", is_place=True),
    Option("data.split_paragraphs", "fixed", bool, "cut paragraphs into sentences"),
    Option("data.text_column", "fixed", str, "where jsonl, parquet and tfds hold the text"),
    TFDS_DIR,
    Option("data.builtin_documents", "fixed", int, "documents the built-in source generates", at_least=1),
)

# The `teacher` that is drawn.
RANDOM = "random"

DEVICE_OPTIONS = (
    Option(
        "tokenizer",
        "fixed",
        str | None,
        "directory, file, hub id, or train:KIND:SIZE; none: init_from's",
        is_place=True,
    ),
    Option(
        "tokenizer_case",
        "fixed",
        str | None,
        "train:KIND:SIZE: case of the text; none: lower",
        choices=("lower", "keep"),
        implied=True,
    ),
    Option(
        "tokenizer_accents",
        "fixed",
        str | None,
        "train:KIND:SIZE: accents; none: auto, which drops them where under 1% of the text has any",
        choices=("auto", "strip", "keep"),
        implied=True,
    ),
    Option("model.preset", "fixed", str | None, "a released architecture, as albert-base-v2; none: init_from's"),
    Option("execution.dtype", "free", str, "computation type", choices=("auto", "float32", "bfloat16")),
    Option(
        "execution.unroll",
        "free",
        int | None,
        "layers unrolled per scan iteration, 0 all of them; none: chosen",
        at_least=0,
    ),
    Option("execution.remat", "free", str, "what the backward pass recomputes", choices=("none", "dots", "full")),
    Option("execution.attention", "free", str, "attention implementation", choices=("auto", "xla", "cudnn")),
    Option("execution.deterministic", "free", bool, "bit-equal reruns on GPU too, at some cost"),
    Option("optimizer.name", "fixed", str, "update rule", choices=("lamb", "adamw")),
    Option("optimizer.learning_rate", "fixed", float, "peak learning rate", at_least=0),
    Option("optimizer.schedule", "fixed", str, "decay after warm-up", choices=("linear", "constant")),
    Option(
        "optimizer.decay_from",
        "fixed",
        str | None,
        "where a linear decay counts from: step 0 (Google's), or the end of the warm-up (Hugging Face's); none: start",
        choices=("start", "peak"),
        implied=True,
    ),
    Option("optimizer.warmup_steps", "fixed", int, "steps of linear warm-up", at_least=0),
    Option("optimizer.weight_decay", "fixed", float, "decay of kernels and embeddings", at_least=0),
    Option("optimizer.b1", "fixed", float, "first moment's decay", at_least=0),
    Option("optimizer.b2", "fixed", float, "second moment's decay", at_least=0),
    Option("optimizer.eps", "fixed", float, "added to the root of the second moment", at_least=0),
    Option(
        "optimizer.bias_correction",
        "fixed",
        bool | None,
        "of both moments, early on; none: adamw's with, lamb's without, as Google's",
        implied=True,
    ),
    Option(
        "optimizer.clip_norm",
        "fixed",
        float | None,
        "global gradient norm limit; none or 0: no clipping",
        at_least=0,
    ),
    Option("mesh.data", "free", int, "devices that split the batch; -1: all that are left", at_least=-1),
    Option("mesh.fsdp", "free", int, "devices that split batch, parameters and optimizer state", at_least=-1),
)

COMMON_OPTIONS = (*RUN_OPTIONS, *CORPUS_OPTIONS, *DEVICE_OPTIONS)


def _overrides(rows: Iterable[tuple[str, type, str]]) -> tuple[Option, ...]:
    return tuple(
        Option(f"model.{name}", "fixed", form | None, f"{doc}; none: the preset's") for name, form, doc in rows
    )


MODEL_OPTIONS = _overrides(
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

MASK_OPTIONS = (
    Option("data.max_predictions", "fixed", int, "masked positions per row, at most", at_least=1),
    Option("data.masked_fraction", "fixed", float, "fraction of tokens to predict", at_least=0),
    Option(
        "data.masking",
        "fixed",
        str,
        "masks drawn for each row, or single tokens over the whole batch, on the device",
        choices=("rows", "batch"),
    ),
    Option(
        "data.mask_smoothing",
        "fixed",
        float,
        "masking=batch: chance of a token proportional to its count to the power of minus this",
        at_least=0,
    ),
    Option("data.max_ngram", "fixed", int, "longest masked span in words", at_least=1),
    Option("data.whole_word", "fixed", bool, "mask whole words"),
    Option("data.texts", "fixed", str, "rows=packed: what a text is", choices=("documents", "sentences")),
)

PRETRAIN_OPTIONS = (
    *COMMON_OPTIONS,
    *MODEL_OPTIONS,
    *MASK_OPTIONS,
    Option(
        "data.rows", "fixed", str, "pairs with a sentence task, or single texts packed", choices=("pairs", "packed")
    ),
    Option("data.short_seq_prob", "fixed", float, "probability of a shorter row", at_least=0),
    Option("data.pair_task", "fixed", str, "what the sentence head learns", choices=("sop", "nsp")),
)


def _losses(rows: Iterable[tuple[str, str]]) -> tuple[Option, ...]:
    return tuple(
        Option(f"losses.{name}", "fixed", float, f"weight of {doc}; 0: not optimized", at_least=0) for name, doc in rows
    )


LOSS_OPTIONS = _losses(
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

DISTILL_OPTIONS = (
    *COMMON_OPTIONS,
    *MODEL_OPTIONS,
    *MASK_OPTIONS,
    Option(
        "teacher",
        "free",
        str | None,
        "model to learn from: directory, hub id, ...; random: a tiny one, to try things",
        is_place=True,
    ),
    Option("trim_vocabulary", "fixed", bool, "leave out the pieces that the training text does not use"),
    Option(
        "student.init", "fixed", str, "what the student begins as, without init_from", choices=("teacher", "random")
    ),
    Option(
        "student.layers",
        "fixed",
        tuple,
        "init=teacher: the teacher's layers to take, as (0, 2, 4), of a shared layer those to average; (): spread",
    ),
    *LOSS_OPTIONS,
    Option("distill.temperature", "fixed", float, "T of the soft cross-entropy", above=0),
    Option("distill.restrict_ce_to_mask", "fixed", bool, "losses on logits see masked words only"),
    Option("distill.layer_map", "fixed", tuple, "((teacher's layer, student's), ...) of *_mse losses; (): spread"),
    Option("distill.relation_layers", "fixed", tuple, "(teacher's layer, student's) of *_relation losses"),
    Option("distill.relation_heads", "fixed", int | None, "heads of the relations; none: the teacher's", at_least=1),
    Option("distill.project", "fixed", bool, "learn a map from the student's width to the teacher's"),
    Option(
        "distill.teacher_dtype",
        "free",
        str,
        "the teacher's computation type and parameters",
        choices=("auto", "float32", "bfloat16"),
    ),
    Option("distill.logit_chunks", "free", int, "parts of a row whose logits exist at a time", at_least=2),
)

# By the name of the job that a config is for, which is its JOB. Those of fine-tuning are in
# `train.options.task_tables`.
JOB_OPTIONS = {"pretrain": PRETRAIN_OPTIONS, "distill": DISTILL_OPTIONS}
