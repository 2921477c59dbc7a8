"""Mixtures: shares of the text, order, exhausted parts, and both splits."""

import itertools
import json

import pytest

from train.data.sources import CorpusOptions, open_corpus
from train.data.tokens.preparation import build_store
from train.errors import UserError


def write(path, count, words, tag):
    """Writes different documents of `words` words each."""
    documents = (" ".join([f"{tag}{number}", *[tag] * (words - 1)]) for number in range(count))
    path.write_text("\n".join(json.dumps({"text": text}) for text in documents))
    return f"text:{path}"


@pytest.fixture
def sources(tmp_path):
    """A source of long documents and a source of short ones."""
    return write(tmp_path / "a.jsonl", 60, 500, "aaaa"), write(tmp_path / "b.jsonl", 3000, 20, "bbbb")


def read(mixture, split="train", **options):
    options = CorpusOptions(source="text:not-there/*", mixture=mixture, **options)
    return list(open_corpus(options, split).documents())


def characters(documents):
    counts = {"a": 0, "b": 0}
    for document in documents:
        counts[document[0][0]] += sum(map(len, document))
    return counts


@pytest.mark.parametrize("weights", [(0.8, 0.2), (8, 2), (1, 9), (1, 1)])
def test_mixture_has_the_given_shares_of_the_text_at_every_point(sources, weights):
    """At any point, the share of a part is exact up to one document per part, whatever their lengths."""
    documents = read(tuple(zip(sources, weights, strict=True)))
    counts = {"a": 0, "b": 0}
    share = weights[0] / sum(weights)
    for document in documents:
        counts[document[0][0]] += len(document[0])
        assert abs(counts["a"] - share * sum(counts.values())) <= 500 * 5 + 20 * 5 + 20
    assert abs(counts["a"] / sum(counts.values()) - share) < 0.02


def test_mixture_repeats_exhausted_parts_until_all_have_been_read(sources):
    """Every document is read, and documents are repeated only as far as the shares require."""
    documents = [document[0] for document in read(((sources[0], 0.5), (sources[1], 0.5)))]
    long, short = ([text for text in documents if text[0] == letter] for letter in "ab")
    assert len(set(long)) == 60
    assert len(set(short)) == 3000 == len(short)
    assert long == list(itertools.islice(itertools.cycle(long[:60]), len(long)))
    assert 60 * 1.5 < len(long) < 60 * 2.5


def test_mixture_is_deterministic_and_cached_as_one_corpus(sources, tmp_path, tokenizer):
    mixture = [[sources[0], 0.3], [sources[1], 0.7]]
    assert read(mixture) == read(mixture)
    corpus = open_corpus(CorpusOptions(source="builtin", mixture=mixture), "train")
    store = build_store(corpus, tokenizer, cache_dir=tmp_path / "cache", log=lambda line: None)
    assert store.counts["documents"] == len(read(mixture))
    lines = []
    again = build_store(corpus, tokenizer, cache_dir=tmp_path / "cache", log=lines.append)
    assert (again.fingerprint, lines) == (store.fingerprint, [])


def test_mixture_inputs_name_weights_and_parts(sources):
    def inputs(*mixture):
        return open_corpus(CorpusOptions(source="builtin", mixture=mixture), "train").inputs

    a, b = sources
    assert inputs((a, 0.8), (b, 0.2)) == inputs((a, 8), (b, 2))
    assert inputs((a, 0.8), (b, 0.2)) != inputs((a, 0.7), (b, 0.3))
    assert inputs(
        (a, 1),
    ) != inputs((a, 1), ("builtin", 1))


def test_mixture_holds_out_documents_of_every_part(sources, tmp_path):
    """A document in two parts is held out of both, and the held-out split has the same shares."""
    twin = tmp_path / "twin.jsonl"
    twin.write_text("\n".join((tmp_path / "b.jsonl").read_text().splitlines()[:500]))
    mixture = ((sources[0], 0.5), (sources[1], 0.3), (f"text:{twin}", 0.2))
    training, held_out = (read(mixture, split, eval_fraction=0.2) for split in ("train", "heldout"))
    assert not set(map(tuple, training)) & set(map(tuple, held_out))
    assert len(set(map(tuple, training + held_out))) == 3060
    counts = characters(held_out)
    assert abs(counts["a"] / sum(counts.values()) - 0.5) < 0.05


def test_mixture_takes_the_built_in_corpus_and_eval_source(sources):
    mixture = (("builtin", 1), (sources[0], 1))
    options = {"builtin_documents": 50, "builtin_eval_documents": 7}
    assert any(len(document) > 1 for document in read(mixture, **options))
    assert len(read(mixture, "heldout", eval_source="builtin", **options)) == 7
    with pytest.raises(UserError, match="read by both"):
        read(mixture, eval_source=sources[0])


@pytest.mark.parametrize(
    ("mixture", "parts"),
    [
        (("text:a", 0.5), ["'text:a'", "a source and a positive weight"]),
        ((("text:a",),), ["('text:a',)"]),
        ((("text:a", "0.5"),), ["('text:a', '0.5')"]),
        ((("text:a", 0),), ["('text:a', 0)", "a positive weight"]),
        ((("text:a", True),), ["a positive weight"]),
        ((("text:a", float("nan")),), ["a positive weight"]),
        ((("text:a", float("inf")),), ["a positive weight"]),
        (((0.5, "text:a"),), ["(0.5, 'text:a')"]),
        ((("txt:a", 1),), ["'txt:a' is not known"]),
        ((("text:not-there/*", 1),), ["No file matches"]),
    ],
)
def test_mixture_errors_name_the_cause(mixture, parts):
    with pytest.raises(UserError) as caught:
        read(mixture)
    for part in parts:
        assert part in str(caught.value)


def test_mixture_raises_for_a_part_that_is_far_too_small(sources, tmp_path):
    tiny = write(tmp_path / "tiny.jsonl", 1, 2, "cccc")
    with pytest.raises(UserError, match=r"tiny\.jsonl' is too small for 90\.0% of data\.mixture"):
        read(((sources[0], 0.1), (tiny, 0.9)))


def test_mixture_error_names_the_empty_part(sources, tmp_path):
    (tmp_path / "none.txt").write_text("\n\n")
    with pytest.raises(UserError, match=r"none\.txt' holds no document"):
        read(((sources[0], 0.5), (f"text:{tmp_path}/none.txt", 0.5)))
