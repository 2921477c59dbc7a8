"""Several corpora as one, each with a given share of the text."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from train.data.sources.corpus import Corpus, Document
from train.errors import UserError

# More passes than this are a slip in the weights: BERT trained for about 40 (Devlin et al. 2019, A.2).
_MOST_PASSES = 100


def check_mixture(mixture: Sequence[Any]) -> tuple[tuple[str, float], ...]:
    """Returns the parts with weights that sum to one.

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
                    f"data.mixture has an entry {item!r}, expected a source and its weight, a number above 0, such as "
                    "(('tfds:wiki40b/en', 0.8), ('text:books/*.txt', 0.2))."
                )
    total = sum(weight for _, weight in parts)
    return tuple((source, weight / total) for source, weight in parts)


def mix(parts: Sequence[tuple[Corpus, float]], name: str) -> Corpus:
    """Interleaves documents so that each part's share of the text, in characters, is its weight.

    The next document always comes from the part that is furthest behind its share, so that the shares of every
    beginning of the corpus are right to within a document a part. A share of the documents would say little: a
    sentence and a book are one each. A part that ends starts over, until all have been read to their end: nothing is
    left out, and the shares hold.

    Args:
        parts: corpora with weights.
        name: what a person calls it.
    """

    def read() -> Iterator[Document]:
        readers = [corpus.paragraphs() for corpus, _ in parts]
        characters = [0] * len(parts)
        passes = [0] * len(parts)
        while True:
            behind = min(range(len(parts)), key=lambda index: characters[index] / parts[index][1])
            document = next(readers[behind], None)
            if document is None:
                passes[behind] += 1
                if all(passes):
                    return
                _check_passes(passes[behind], *parts[behind])
                readers[behind] = parts[behind][0].paragraphs()
                document = next(readers[behind])
            characters[behind] += sum(map(len, document))
            yield document

    inputs = {"source": "mixture", "parts": [[corpus.inputs, len(corpus.files), weight] for corpus, weight in parts]}
    return Corpus(
        name,
        inputs,
        tuple(path for corpus, _ in parts for path in corpus.files),
        read,
        # One line of the built-in corpus is one sentence, so cutting its lines changes nothing.
        any(corpus.split_paragraphs for corpus, _ in parts),
        tuple(extent for corpus, _ in parts for extent in corpus.extents),
    )


def _check_passes(passes: int, corpus: Corpus, weight: float) -> None:
    if passes >= _MOST_PASSES:
        raise UserError(
            f"{corpus.name} is too small for {weight:.1%} of data.mixture: it would be read more than {_MOST_PASSES} "
            "times before the rest has been read once. Lower its weight."
        )
