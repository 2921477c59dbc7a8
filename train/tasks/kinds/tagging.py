"""Tagging: a label for each word of a sentence."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from scipy import special

from flax_lite.models.heads import TokenClassification
from train.tasks.examples import Prediction, TagExample
from train.tasks.kinds.task import Task
from train.tasks.rows import Row, RowSet

_NO_WORD = -1


class Tagging(Task):
    """Tagging of words; the tag of a word is predicted at its first piece (BERT, section 5.3).

    A sentence that is longer than a row is split between words into several rows, so that every word gets a tag.
    """

    kind = "tags"
    model_class = TokenClassification
    label_padding: ClassVar[Mapping[str, float]] = {"tags": _NO_WORD}
    token_logits = True

    def encode(self, examples: Sequence[TagExample]) -> list[Row]:
        """Returns rows of whole words."""
        pieces = iter(self.tokenizer.encode([word for example in examples for word in example.words]))
        rows = []
        for index, example in enumerate(examples):
            # A word that normalization removes entirely (combining marks) still needs a token for its tag.
            words = [next(pieces) or [self.tokenizer.unk_id] for _ in example.words]
            for begin, end in self._parts([len(word) for word in words]):
                rows.append(self._row(index, words[begin:end], (example.tags or (0,) * len(words))[begin:end]))
        return rows

    def predict(
        self, examples: Sequence[TagExample], rows: RowSet, logits: Sequence[Mapping[str, np.ndarray]]
    ) -> list[Prediction]:
        """Predicts the most probable tag of each word."""
        found: list[list[np.ndarray]] = [[] for _ in examples]
        for row, each in zip(rows.rows, logits, strict=True):
            at_words = row.labels["tags"] != _NO_WORD
            found[row.example].append(each["logits_0"][: len(at_words)][at_words])
        predictions = []
        for example, parts in zip(examples, found, strict=True):
            p = special.softmax(np.concatenate(parts).astype(np.float64), axis=-1)
            tags, confidence = tuple(p.argmax(-1).tolist()), tuple(p.max(-1).tolist())
            predictions.append(Prediction(id=example.id, value=tags, probabilities=confidence))
        return predictions

    def _parts(self, lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Splits a sentence, given the lengths of its words, into the ranges of words of its rows."""
        room, begin, used = self.max_length - self.tokenizer.template.single_size, 0, 0
        for at, length in enumerate(lengths):
            if at > begin and used + length > room:
                yield begin, at
                begin, used = at, 0
            used += length
        yield begin, len(lengths)

    def _row(self, example: int, words: Sequence[Sequence[int]], tags: Sequence[int]) -> Row:
        template = self.tokenizer.template
        ids, labels = [], []
        for word, tag in zip(words, tags, strict=True):
            ids += word
            labels += [tag, *[_NO_WORD] * (len(word) - 1)]
        room = self.max_length - template.single_size
        self.num_truncated += len(ids) > room  # a single word may be longer than a row
        tokens = np.array(template.single(ids[:room]), np.int32)
        labels = [_NO_WORD, *labels[:room], *[_NO_WORD] * len(template.end)]
        return Row(example, (tokens,), (len(tokens),), {"tags": np.array(labels, np.int32)})
