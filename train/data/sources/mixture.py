"""Mixes several corpora into one, in which each has a given share of the text."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from train.data.sources.corpus import Corpus, Document
from train.errors import UserError

# More passes indicate a mistake in the weights: BERT trained for about 40 epochs (Devlin et al. 2019, A.2).
_MOST_PASSES = 100


def check_mixture(mixture: Sequence[Any]) -> tuple[tuple[str, float], ...]:
    """Returns the sources of a mixture with their weights normalized to sum to one.

    Raises:
        UserError: if it is not a sequence of (source, positive weight).
    """
    parts: list[tuple[str, float]] = []
    for item in mixture:
        match item:
            case (str(source), int(weight) | float(weight)) if weight is not True and 0 < weight < math.inf:
                parts.append((source, weight))
            case _:
                raise UserError(
                    f"data.mixture has an entry {item!r}, expected a source and a positive weight, such as "
                    "(('tfds:wiki40b/en', 0.8), ('text:books/*.txt', 0.2))."
                )
    total = sum(weight for _, weight in parts)
    return tuple((source, weight / total) for source, weight in parts)


def mix(parts: Sequence[tuple[Corpus, float]], name: str) -> Corpus:
    """Interleaves documents so that the weight of each part is its share of the characters.

    The next document always comes from the part that is furthest below its share, so that at any point the shares are
    exact up to one document per part. Weights are not shares of the documents, since a document may be a sentence or a
    book. A part that is exhausted starts again, until every part has been read at least once.

    Grain's `mix` is not used: its weights are shares of the examples, not of the text.

    Args:
        parts: corpora with weights.
        name: the name of the mixture in messages.
    """

    def read() -> Iterator[Document]:
        readers = [corpus.paragraphs() for corpus, _ in parts]
        characters = [0] * len(parts)
        passes = [0] * len(parts)
        while True:
            part = min(range(len(parts)), key=lambda index: characters[index] / parts[index][1])
            document = next(readers[part], None)
            if document is None:
                passes[part] += 1
                if all(passes):
                    return
                _check_passes(passes[part], *parts[part])
                readers[part] = parts[part][0].paragraphs()
                document = next(readers[part])
            characters[part] += sum(map(len, document))
            yield document

    inputs = {"source": "mixture", "parts": [[corpus.inputs, len(corpus.files), weight] for corpus, weight in parts]}
    return Corpus(
        name,
        inputs,
        tuple(path for corpus, _ in parts for path in corpus.files),
        read,
        # A line of the built-in corpus is one sentence, so splitting it changes nothing.
        any(corpus.split_paragraphs for corpus, _ in parts),
        tuple(extent for corpus, _ in parts for extent in corpus.extents),
    )


def _check_passes(passes: int, corpus: Corpus, weight: float) -> None:
    if passes >= _MOST_PASSES:
        raise UserError(
            f"{corpus.name} is too small for {weight:.1%} of data.mixture: it would be read more than {_MOST_PASSES} "
            "times before the other sources have been read once. Lower its weight."
        )
