"""Opens the corpus of a split from the options of `data`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from train.data.sources.corpus import (
    Corpus,
    Document,
    GeneratedText,
    ParagraphSource,
    Share,
    Split,
    exclude_documents,
    select_documents,
)
from train.data.sources.mixture import check_mixture, mix
from train.data.sources.parquet import open_parquet
from train.data.sources.text import open_text
from train.data.sources.tfds import open_tfds
from train.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """The options of `data` that determine the documents.

    Attributes:
        source: the corpus: `builtin`, `text:GLOB`, `parquet:GLOB` or `tfds:NAME[/CONFIG][:SPLIT]`.
        eval_source: the source of the held-out split.
        eval_fraction: share of the documents of `source` to hold out if there is no `eval_source`.
        mixture: sources with weights, instead of `source`.
        text_column: the field of a JSON line, a Parquet row or a tfds example that holds the text.
        tfds_dir: directory of the prepared tfds data sets; the default of tfds if None.
        builtin_documents: number of generated training documents.
        builtin_eval_documents: number of generated held-out documents.
        builtin_seed: seed of the generator.
        split_paragraphs: whether paragraphs are split into sentences. Segment pairs consist of whole sentences; if
            paragraphs as long as a row were not split, hardly any pair would be of consecutive text.
    """

    source: str
    eval_source: str | None = None
    eval_fraction: float = 0.0
    mixture: tuple[Any, ...] = ()
    text_column: str = "text"
    tfds_dir: str | None = None
    builtin_documents: int = 20_000
    builtin_eval_documents: int = 1_000
    builtin_seed: int = 0
    split_paragraphs: bool = True


def open_corpus(options: CorpusOptions, split: Split) -> Corpus:
    """Opens one split of a corpus.

    The held-out split is `eval_source`, if given; for `builtin`, the held-out split of the generator; otherwise the
    documents whose hash is below `eval_fraction`, independent of their file or source. The training split is the rest
    of `source`; documents that also occur in `eval_source`, word for word, are excluded. The held-out split of a
    mixture is the same mixture of the held-out splits of its sources.

    Args:
        options: the options of the corpus.
        split: "train" or "heldout".

    Returns:
        The corpus. Documents are read when it is iterated over.

    Raises:
        UserError: if a source is unknown, a pattern matches no file, a package is missing, or nothing is held out.
    """
    fraction = options.eval_fraction
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"data.eval_fraction={fraction}, expected a share of at least 0 and less than 1.")
    if not options.eval_source:
        return _open_training(options, split, Share(0.0, fraction) if split == "heldout" else Share(fraction, 1.0))
    training = _open_training(options, "train", Share())
    held_out = _open_source(options.eval_source, options, "heldout", Share())
    _refuse_common_text(training, held_out)
    return exclude_documents(training, held_out) if split == "train" else held_out


def _open_training(options: CorpusOptions, split: Split, share: Share) -> Corpus:
    if not options.mixture:
        return _open_source(options.source, options, split, share)
    weighted = check_mixture(options.mixture)
    parts = [(_open_source(source, options, split, share), weight) for source, weight in weighted]
    return mix(parts, f"data.mixture ({split} split)")


def _open_source(source: str, options: CorpusOptions, split: Split, share: Share) -> Corpus:
    scheme, colon, argument = source.partition(":")
    if source == "builtin":
        return _open_builtin(options, split)
    if scheme not in _SCHEMES or not colon or not argument:
        usages = "; ".join(["'builtin' (generated text)", *(usage for _, usage in _SCHEMES.values())])
        raise UserError(f"data source {source!r} is not known. Supported: {usages}.")
    if not share.low < share.high:
        raise UserError(
            f"There is no held-out set: data source {source!r} does not define one. Give data.eval_source, or a share "
            "of the documents to hold out, such as data.eval_fraction=0.01."
        )
    part = "" if share.whole else f" ({split} share of data.eval_fraction={options.eval_fraction})"
    texts = _SCHEMES[scheme][0](argument, options)
    return select_documents(f"data source {source!r}{part}", texts, share, split_paragraphs=options.split_paragraphs)


_SCHEMES: dict[str, tuple[Callable[[str, CorpusOptions], ParagraphSource], str]] = {
    "text": (
        lambda pattern, options: open_text(pattern, options.text_column),
        "'text:GLOB' (.txt: a sentence or paragraph per line, a blank line between documents; .jsonl: objects)",
    ),
    "parquet": (
        lambda pattern, options: open_parquet(pattern, options.text_column),
        "'parquet:GLOB' (one document per row)",
    ),
    "tfds": (
        lambda argument, options: open_tfds(argument, options.text_column, options.tfds_dir),
        "'tfds:NAME[/CONFIG][:SPLIT]', such as 'tfds:wiki40b/en:train' (a prepared data set of TensorFlow Datasets)",
    ),
}


def _open_builtin(options: CorpusOptions, split: Split) -> Corpus:
    from train.data import builtin  # other sources do not need the grammar

    count = options.builtin_documents if split == "train" else options.builtin_eval_documents
    if count < 1:
        raise UserError(f"The built-in corpus needs at least one document for its {split} split, got {count}.")

    def read() -> Iterator[Document]:
        for document in builtin.generate_corpus(options.builtin_seed, split, count):
            yield list(document.sentences)

    inputs = {"source": "builtin", "split": split, "documents": count, "seed": options.builtin_seed}
    return Corpus(f"data source 'builtin' ({split} split)", inputs, tuple(map(GeneratedText, builtin.TEXT)), read)


def _refuse_common_text(training: Corpus, held_out: Corpus) -> None:
    spans: dict[str, list[tuple[float, float]]] = {}
    for path, first, end in training.extents:
        spans.setdefault(path, []).append((first, end))
    common = [
        path
        for path, first, end in held_out.extents
        if any(first < other_end and other_first < end for other_first, other_end in spans.get(path, []))
    ]
    if common:
        raise UserError(
            f"{len(common)} file(s) are read by both {training.name} and {held_out.name} (data.eval_source), for "
            f"example {common[0]}. Held-out text must not be trained on: make the two disjoint."
        )
