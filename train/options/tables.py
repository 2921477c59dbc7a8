"""The options of the jobs, each declared once with its type, default and meaning.

A default that is a recipe's number is BERT's (Devlin et al. 2018, arXiv:1810.04805; google-research/bert,
create_pretraining_data.py and optimization.py); cadences and worker counts are ours. Batch size, steps and learning
rate have no default: they make an experiment.

Changing the default of a fixed option changes every config that does not set it, and its work directories then refuse
to resume.
"""

from collections.abc import Iterable

from train.options.schema import REQUIRED, Option

RUN_OPTIONS = (
    Option("seed", "fixed", int, 12345, "seed of parameters, dropout, masks and data order", at_least=0),
    Option("batch_size", "fixed", int, REQUIRED, "sequences per step, over all devices", at_least=1),
    # It changes which dropout masks are drawn, so it is fixed.
    Option("accumulation_steps", "fixed", int, 1, "micro-batches per step, for a batch that does not fit", at_least=1),
    Option("total_steps", "fixed", int, REQUIRED, "training steps; more of them on resume needs --extend", at_least=1),
    Option("log_every_steps", "free", int, 100, "steps between two lines of metrics.jsonl", at_least=1),
    Option("eval_every_steps", "free", int, 5000, "steps between two evaluations", at_least=1),
    Option("checkpoint_every_steps", "free", int, 1000, "steps between two checkpoints", at_least=1),
    Option("keep_checkpoints", "free", int, 5, "number of newest checkpoints to keep during the run", at_least=1),
    Option("keep_checkpoints_after", "free", int, 1, "newest checkpoints that a finished run keeps", at_least=1),
    Option("keep_best", "free", bool, False, "also keep the checkpoint with the best evaluation, and export it"),
    Option(
        "model_format",
        "free",
        str,
        "safetensors",
        "format of the weights in model/; flax: flax_model.msgpack",
        choices=("safetensors", "flax", "both"),
    ),
    Option("plot", "free", bool, True, "draw loss.png, accuracy.png and, for tasks with other scores, scores.png"),
    Option("tensorboard", "free", bool, False, "also write TensorBoard event files"),
    Option("profile.first_step", "free", int | None, None, "first step to profile; none: no profile", at_least=1),
    Option("profile.num_steps", "free", int, 5, "number of steps to profile", at_least=1),
    Option(
        "compilation_cache",
        "free",
        str | None,
        "auto",
        "directory for compiled programs; auto: the user's cache, no cache on a CPU",
        is_path=True,
    ),
    # The defaults of jax.distributed.initialize.
    Option("hosts.heartbeat_seconds", "free", int, 100, "silence after which another host counts as lost", at_least=1),
    Option("hosts.initialization_seconds", "free", int, 300, "how long hosts wait for each other", at_least=1),
    Option(
        "init_from",
        "fixed",
        str | None,
        None,
        "model to start from: directory, hub id, ...; none: initialized from the seed",
        is_path=True,
    ),
)

SEQUENCE_LENGTH = Option(
    "data.sequence_length", "fixed", int, 512, "tokens per sequence, special tokens included", at_least=8
)
TFDS_DIR = Option(
    "data.tfds_dir", "free", str | None, None, "directory of prepared tfds data; none: tfds's default", is_path=True
)

CORPUS_OPTIONS = (
    Option(
        "data.source",
        "fixed",
        str,
        "text:corpus/*.txt",
        "builtin | text:GLOB | parquet:GLOB | tfds:NAME[/CONFIG][:SPLIT]",
        is_path=True,
    ),
    Option(
        "data.mixture",
        "fixed",
        tuple,
        (),
        "(('SOURCE', share of the text), ...), instead of data.source",
        is_path=True,
    ),
    Option(
        "data.eval_source", "fixed", str | None, None, "held-out data; none: a fraction of data.source", is_path=True
    ),
    Option("data.eval_fraction", "fixed", float, 0.005, "held-out fraction of the documents, by hash", at_least=0),
    Option("data.max_eval_rows", "fixed", int, 4096, "held-out sequences scored at each evaluation", at_least=1),
    SEQUENCE_LENGTH,
    Option("data.workers", "free", int, 8, "processes that build batches; 0: the main process", at_least=0),
    Option("data.prepare_workers", "free", int | None, None, "processes that tokenize; none: one per core", at_least=1),
    Option(
        "data.cache_dir", "free", str | None, None, "directory of tokenized data; none: the user's cache", is_path=True
    ),
    Option("data.split_paragraphs", "fixed", bool, True, "split paragraphs into sentences"),
    Option("data.text_column", "fixed", str, "text", "column of the text in jsonl, parquet and tfds"),
    TFDS_DIR,
    Option("data.builtin_documents", "fixed", int, 20_000, "documents of the built-in source", at_least=1),
)

RANDOM = "random"  # the `teacher` that is a random model

DEVICE_OPTIONS = (
    Option(
        "tokenizer",
        "fixed",
        str | None,
        None,
        "directory, file, hub id, or train:KIND:SIZE; none: that of init_from or teacher",
        is_path=True,
    ),
    Option(
        "tokenizer_case",
        "fixed",
        str | None,
        None,
        "train:KIND:SIZE: case of the text; none: lower",
        choices=("lower", "keep"),
        implied=True,
    ),
    Option(
        "tokenizer_accents",
        "fixed",
        str | None,
        None,
        "train:KIND:SIZE: accents; none: auto, which strips them if under 1% of the text has any",
        choices=("auto", "strip", "keep"),
        implied=True,
    ),
    Option("model.preset", "fixed", str | None, None, "a released architecture: albert-base-v2; none: init_from's"),
    Option("execution.dtype", "free", str, "auto", "dtype of the computation", choices=("auto", "float32", "bfloat16")),
    Option(
        "execution.unroll",
        "free",
        int,
        "auto",
        "layers unrolled per scan iteration; 0: all; auto: by device and depth",
        words=("auto",),
        at_least=0,
    ),
    Option(
        "execution.remat", "free", str, "none", "what the backward pass recomputes", choices=("none", "dots", "full")
    ),
    Option("execution.attention", "free", str, "auto", "attention implementation", choices=("auto", "xla", "cudnn")),
    Option("execution.deterministic", "free", bool, False, "bit-equal reruns on GPUs too, at some cost"),
    Option("optimizer.name", "fixed", str, "adamw", "optimizer", choices=("lamb", "adamw")),
    Option("optimizer.learning_rate", "fixed", float, REQUIRED, "peak learning rate", at_least=0),
    Option("optimizer.schedule", "fixed", str, "linear", "decay after warm-up", choices=("linear", "constant")),
    Option(
        "optimizer.decay_from",
        "fixed",
        str | None,
        None,
        "start of a linear decay: step 0 (start, Google's) or the end of warm-up (peak, Hugging Face's); none: start",
        choices=("start", "peak"),
        implied=True,
    ),
    Option("optimizer.warmup_steps", "fixed", int, 0, "steps of linear warm-up", at_least=0),
    Option("optimizer.weight_decay", "fixed", float, 0.01, "decay of kernels and embeddings", at_least=0),
    Option("optimizer.b1", "fixed", float, 0.9, "decay of the first moment", at_least=0),
    Option("optimizer.b2", "fixed", float, 0.999, "decay of the second moment", at_least=0),
    Option("optimizer.eps", "fixed", float, 1e-6, "added to the square root of the second moment", at_least=0),
    Option(
        "optimizer.bias_correction",
        "fixed",
        bool | None,
        None,
        "correct both moments for their zero start; none: for adamw, not for lamb (as Google's code)",
        implied=True,
    ),
    Option(
        "optimizer.clip_norm",
        "fixed",
        float | None,
        1.0,
        "limit of the global gradient norm; none or 0: no clipping",
        at_least=0,
    ),
    Option("mesh.data", "free", int, -1, "devices that split the batch; -1: all remaining", at_least=-1),
    Option("mesh.fsdp", "free", int, 1, "devices that split batch, parameters and optimizer state", at_least=-1),
)

COMMON_OPTIONS = (*RUN_OPTIONS, *CORPUS_OPTIONS, *DEVICE_OPTIONS)


def _overrides(rows: Iterable[tuple[str, type, str]]) -> tuple[Option, ...]:
    return tuple(
        Option(f"model.{name}", "fixed", form | None, None, f"{doc}; none: the preset's") for name, form, doc in rows
    )


MODEL_OPTIONS = _overrides(
    (
        ("embedding_size", int, "embedding width E"),
        ("hidden_size", int, "model width D"),
        ("num_hidden_layers", int, "number of layers"),
        ("num_hidden_groups", int, "groups that share parameters (ALBERT)"),
        ("inner_group_num", int, "layers in a group (ALBERT)"),
        ("num_attention_heads", int, "attention heads N"),
        ("intermediate_size", int, "feed-forward width F"),
        ("hidden_act", str, "feed-forward activation"),
        ("hidden_dropout_prob", float, "dropout of embeddings and layer outputs"),
        ("attention_probs_dropout_prob", float, "dropout of attention probabilities"),
        ("max_position_embeddings", int, "number of position embeddings"),
        ("initializer_range", float, "standard deviation of initial kernels and embeddings"),
    )
)

MASK_OPTIONS = (
    # 15% of 512 tokens; google-research/bert and albert default to 20, for 128 tokens.
    Option("data.max_predictions", "fixed", int, 77, "masked positions per sequence, at most", at_least=1),
    Option("data.masked_fraction", "fixed", float, 0.15, "fraction of tokens to predict", at_least=0),
    Option(
        "data.masking",
        "fixed",
        str,
        "rows",
        "rows: masks drawn for each sequence; batch: single tokens drawn from the whole batch, on the device",
        choices=("rows", "batch"),
    ),
    Option(
        "data.mask_smoothing",
        "fixed",
        float,
        0.0,
        "masking=batch: s in the chance of a token, its count to the power of -s",
        at_least=0,
    ),
    Option("data.max_ngram", "fixed", int, 1, "longest masked n-gram, in words", at_least=1),
    Option("data.whole_word", "fixed", bool, False, "mask whole words"),
    Option("data.texts", "fixed", str, "documents", "rows=packed: unit of text", choices=("documents", "sentences")),
)

PRETRAIN_OPTIONS = (
    *COMMON_OPTIONS,
    *MODEL_OPTIONS,
    *MASK_OPTIONS,
    Option(
        "data.rows",
        "fixed",
        str,
        "pairs",
        "pairs of segments with a sentence task, or single texts, packed",
        choices=("pairs", "packed"),
    ),
    Option("data.short_seq_prob", "fixed", float, 0.1, "rows=pairs: probability of a shorter sequence", at_least=0),
    Option(
        "data.pair_task",
        "fixed",
        str,
        "sop",
        "rows=pairs: sentence order (ALBERT) or next sentence (BERT)",
        choices=("sop", "nsp"),
    ),
)


def _losses(rows: Iterable[tuple[str, str]]) -> tuple[Option, ...]:
    return tuple(
        Option(f"losses.{name}", "fixed", float, 0.0, f"weight of {doc}; 0: not optimized", at_least=0)
        for name, doc in rows
    )


LOSS_OPTIONS = _losses(
    (
        ("soft_cross_entropy", "the KL divergence from the teacher's predictions"),
        ("logit_mse", "the squared error of the logits"),
        ("mlm", "the masked-LM loss"),
        ("cosine", "the cosine distance of the last hidden states"),
        ("hidden_mse", "the squared error of hidden states"),
        ("embedding_mse", "the squared error of embeddings"),
        ("attention_mse", "the squared error of attention scores (TinyBERT)"),
        ("attention_relation", "the KL divergence of attention (MiniLM)"),
        ("query_relation", "the KL divergence of query relations (MiniLMv2)"),
        ("key_relation", "the KL divergence of key relations (MiniLMv2)"),
        ("value_relation", "the KL divergence of value relations (MiniLM, MiniLMv2)"),
        ("sentence_mse", "the squared error of mean-pooled sentence vectors"),
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
        None,
        "model to learn from: directory, hub id, ...; random: a tiny random model, to try the job",
        is_path=True,
    ),
    Option("trim_vocabulary", "fixed", bool, False, "drop the vocabulary entries that the training text does not use"),
    Option(
        "student.init",
        "fixed",
        str,
        "teacher",
        "initial parameters without init_from: layers of the teacher, or random",
        choices=("teacher", "random"),
    ),
    Option(
        "student.layers",
        "fixed",
        tuple,
        (),
        "init=teacher: the teacher's layers to copy, (0, 2, 4); a shared layer gets their mean; (): evenly spaced",
    ),
    *LOSS_OPTIONS,
    Option("distill.temperature", "fixed", float, 2.0, "temperature of soft_cross_entropy", above=0),
    Option("distill.restrict_ce_to_mask", "fixed", bool, False, "compute losses on logits at masked positions only"),
    Option(
        "distill.layer_map", "fixed", tuple, (), "((teacher layer, student layer), ...) of *_mse; (): evenly spaced"
    ),
    Option("distill.relation_layers", "fixed", tuple, (-1, -1), "(teacher layer, student layer) of *_relation losses"),
    Option(
        "distill.relation_heads",
        "fixed",
        int | None,
        None,
        "relation heads; none: as many as the teacher has heads",
        at_least=1,
    ),
    Option("distill.project", "fixed", bool, False, "learn a linear map from the student's width to the teacher's"),
    Option(
        "distill.teacher_dtype",
        "free",
        str,
        "auto",
        "dtype of the teacher's parameters and computation",
        choices=("auto", "float32", "bfloat16"),
    ),
    Option(
        "distill.logit_chunks", "free", int, 8, "chunks of a sequence whose logits are computed in turn", at_least=2
    ),
)

# By job, the JOB of a config file. The tables of fine-tuning are in `train.options.task_tables`.
JOB_OPTIONS = {"pretrain": PRETRAIN_OPTIONS, "distill": DISTILL_OPTIONS}
