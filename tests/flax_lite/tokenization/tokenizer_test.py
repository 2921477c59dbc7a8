import itertools
import pickle
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from flax_lite.tokenization import load_tokenizer
from flax_lite.tokenization.recipes import BERT_SPECIALS
from flax_lite.tokenization.tokenizer import Tokenizer, kept_lengths
from tests.flax_lite.tokenization import tiny_files


@pytest.fixture(scope="module")
def unigram(tmp_path_factory):
    return load_tokenizer(tiny_files.write_sentencepiece(tmp_path_factory.mktemp("unigram")))


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    return load_tokenizer(tiny_files.write_vocab(tmp_path_factory.mktemp("wordpiece")))


def pieces_of(tokenizer, text):
    return [tokenizer.pieces[id_] for id_ in tokenizer.encode([text])[0]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The  CATS\tsat ", ["▁the", "▁cat", "s", "▁sat"]),
        ("the cát", ["▁the", "▁cat"]),
        ("``the''", ["▁", '"', "t", "h", "e", '"']),
        ("the-cat.", ["▁the", "-", "ca", "t", "."]),
        ("ﬁ", ["▁", "f", "i"]),
        ("日本 a", ["▁", "<unk>", "▁", "a"]),
        ("the [MASK] sat", ["▁the", "[MASK]", "▁sat"]),
        ("the <unk>-cat", ["▁the", "<unk>", "▁", "-", "ca", "t"]),
        ("the <PAD> sat", ["▁the", "<pad>", "▁sat"]),
        ("", []),
        (" \x1f\u3000 ", []),
    ],
)
def test_unigram_normalizes_as_albert(unigram, text, pieces):
    assert pieces_of(unigram, text) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("1,", ["▁1", ","]),  # not "▁1,"
        ("1,050", ["▁1", ",", "050"]),  # the rest as if "▁1," had been chosen
        ("21,050", ["▁2", "1,0", "50"]),  # an inner comma stays
        ("12,a", ["▁1", "2", ",", "a"]),
    ],
)
def test_a_comma_after_a_number_is_a_separate_piece(unigram, text, pieces):
    assert pieces_of(unigram, text) == pieces


def test_unigram_agrees_with_sentencepiece(unigram):
    """On words to which the comma rule does not apply, the pipeline equals SentencePiece."""
    sentencepiece = pytest.importorskip("sentencepiece")
    processor = sentencepiece.SentencePieceProcessor(model_proto=tiny_files.sentencepiece_file())
    rng = random.Random(0)
    texts = ["".join(rng.choices("  aactthes-.(\"'äz日", k=rng.randrange(30))).replace("''", "'") for _ in range(300)]
    texts = [text.replace("ä", "a") for text in texts]
    assert unigram.encode(texts) == processor.encode(texts)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("The CATS sat.", ["the", "cat", "##s", "sat", "."]),
        ("Unwantéd", ["un", "##want", "##ed"]),
        ("cat's-日", ["cat", "'", "s", "-", "[UNK]"]),
        ("the [MASK] sat [mask]", ["the", "[MASK]", "sat", "[UNK]", "[UNK]", "[UNK]"]),
        ("a" * 100, ["a"] + ["##a"] * 99),
        ("a" * 101, ["[UNK]"]),  # longer words are unknown
    ],
)
def test_wordpiece_normalizes_as_bert(wordpiece, text, pieces):
    assert pieces_of(wordpiece, text) == pieces


def test_special_ids_come_by_role(unigram, wordpiece):
    for tokenizer in (unigram, wordpiece):
        ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
        assert tokenizer.special_ids == ids == (0, 1, 2, 3, 4)
    assert (unigram.vocab_size, wordpiece.vocab_size) == (len(tiny_files.PIECES), len(tiny_files.VOCAB))


def test_starts_word_follows_googles_rules(unigram, wordpiece):
    starts = dict(zip(unigram.pieces, unigram.starts_word, strict=True))
    yes = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁", "▁the", "▁1,", "(", '"', ".", ",", "'", "1", "050", "1,0"]
    no = ["s", "ca", "x", "a"]
    assert {piece: starts[piece] for piece in yes + no} == dict.fromkeys(yes, True) | dict.fromkeys(no, False)
    starts = dict(zip(wordpiece.pieces, wordpiece.starts_word, strict=True))
    assert [piece for piece, start in starts.items() if not start] == ["##s", "##want", "##ed", "##a", "##b"]
    assert unigram.starts_word.dtype == np.bool_


def test_only_letters_and_runs_of_punctuation_continue_a_word_of_the_albert_vocabulary(shared_data):
    tokenizer = load_tokenizer(shared_data / "tokenizers" / "albert")
    continuing = [piece for piece, start in zip(tokenizer.pieces, tokenizer.starts_word, strict=True) if not start]
    assert len(continuing) == 6755
    assert {"s", "ing", "**"} <= set(continuing)
    assert all(set(piece) <= set('abcdefghijklmnopqrstuvwxyz*!$%.-,:;/&#@+~_[]{}|\\`^?"') for piece in continuing)


def test_call_returns_rows_with_masks_and_token_types(unigram):
    rows = unigram(["the cat", "the"], ["cats", "the the the"], max_length=9)
    the, cat, s = (unigram.pieces.index(piece) for piece in ("▁the", "▁cat", "s"))
    assert rows["input_ids"].tolist() == [[2, the, cat, 3, cat, s, 3, 0, 0], [2, the, 3, the, the, the, 3, 0, 0]]
    assert rows["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1, 0, 0]]
    assert rows["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0, 0]]
    assert {array.dtype for array in rows.values()} == {np.dtype(np.int32)}


def test_call_without_padding_is_as_wide_as_the_longest_row(wordpiece):
    rows = wordpiece(["the cat sat", "the"], max_length=64, pad=False)
    assert rows["input_ids"].tolist() == [[2, 5, 6, 7, 3], [2, 5, 3, 0, 0]]
    assert wordpiece([], max_length=8)["input_ids"].shape == (0, 8)


def test_call_truncates_the_end(wordpiece):
    assert wordpiece(["the cat sat"], max_length=4)["input_ids"].tolist() == [[2, 5, 6, 3]]
    rows = wordpiece(["a a a a a a"], ["b b b"], max_length=8)
    a, b = wordpiece.pieces.index("a"), wordpiece.pieces.index("b")
    assert rows["input_ids"].tolist() == [[2, a, a, a, 3, b, b, 3]]


def test_kept_lengths_equal_removing_one_token_at_a_time():
    """Compared with the loop of google-research/bert run_classifier.py, _truncate_seq_pair, for all small sizes."""
    for first in range(9):
        for second in range(9):
            for room in range(18):
                a, b = first, second
                while a + b > room:
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert kept_lengths(first, second, room) == (a, b)


def test_kept_lengths_equal_those_of_the_library():
    """Compared with the truncation of the `tokenizers` library."""
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    for room in range(1, 18):
        backend.enable_truncation(room, strategy="longest_first")
        for first in range(1, 9):
            for second in range(1, 9):
                sequence = backend.encode("a " * first, "a " * second).sequence_ids
                lengths = sequence.count(0), sequence.count(1)
                assert kept_lengths(first, second, room, odd_to_first=False) == lengths


def test_invalid_calls_are_errors(unigram):
    with pytest.raises(ValueError, match="2 texts but 1 pairs"):
        unigram(["a", "b"], ["c"], max_length=8)
    with pytest.raises(ValueError, match="max_length=2 has no room"):
        unigram(["a"], ["b"], max_length=2)
    with pytest.raises(ValueError, match="sequence of texts"):
        unigram.encode("the cat")
    for encode in (unigram.encode, unigram.encode_with_spans):
        with pytest.raises(ValueError, match="text 1 is of type int; expected a string"):
            encode(["a", 7])
        with pytest.raises(ValueError, match=r"text 1 holds half a surrogate pair, .* at character 2"):
            encode(["a", "b \ud83d"])
    with pytest.raises(ValueError, match="id 99 is outside the vocabulary of 60 pieces"):
        unigram.decode([99])


def test_decode_returns_normalized_text(unigram, wordpiece):
    assert unigram.decode(unigram.encode(["The cats (sat) 1,050"])[0]) == "the cats (sat) 1,050"
    row = wordpiece(["The cat unwanted, sat."], max_length=16)["input_ids"][0]
    assert wordpiece.decode(row) == "the cat unwanted, sat."
    assert wordpiece.decode([2, 5, 4], skip_specials=False) == "[CLS] the [MASK]"


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_pickling_keeps_everything(kind, request):
    tokenizer = request.getfixturevalue(kind)
    copy = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301
    assert copy.fingerprint == tokenizer.fingerprint
    assert copy.encode(["the cat's"]) == tokenizer.encode(["the cat's"])
    assert copy.pieces == tokenizer.pieces
    assert (copy.starts_word == tokenizer.starts_word).all()


def test_fingerprint_distinguishes_tokenizers(unigram, wordpiece, tmp_path):
    cased = load_tokenizer(tiny_files.write_vocab(tmp_path), lowercase=False)
    other_score = [*tiny_files.PIECES[:-1], ("9", -9.5, 1)]
    rescored = load_tokenizer(tiny_files.write_sentencepiece(tmp_path, pieces=other_score))
    fingerprints = {tokenizer.fingerprint for tokenizer in (unigram, wordpiece, cased, rescored)}
    assert len(fingerprints) == 4


def test_import_loads_neither_jax_nor_transformers_and_sets_no_variable():
    """Data workers import this module: they must not start a device, nor change the environment of their parent."""
    code = """
        import os, sys
        before = dict(os.environ)
        import flax_lite.tokenization
        assert dict(os.environ) == before
        assert not {"jax", "transformers", "sentencepiece", "google.protobuf"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_a_forked_process_encodes_without_a_warning(tmp_path):
    """A child lacks the threads of the parent's pool; older versions of `tokenizers` hung or warned then."""
    path = tiny_files.write_vocab(tmp_path)
    code = f"""
        import os
        from flax_lite.tokenization import load_tokenizer
        texts = ["the cat sat"] * 1000
        tokenizer = load_tokenizer({str(path)!r})
        expected = tokenizer.encode(texts)  # starts the pool
        child = os.fork()
        if child == 0:
            os._exit(0 if tokenizer.encode(texts) == expected else 3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert "TOKENIZERS_PARALLELISM" not in os.environ
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_spans_refer_to_the_text_before_normalization(kind, request):
    tokenizer = request.getfixturevalue(kind)
    text = "  Thé\tcat,  sat\n"

    ids, spans = tokenizer.encode_with_spans([text])[0]

    assert ids == tokenizer.encode([text])[0]
    # Ascending and disjoint, without white space; together they cover every other character.
    assert all(start <= end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(span for span in spans if span[0] < span[1]))
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())


@pytest.mark.parametrize("prefix", ["##", "@@", "_"])
def test_pieces_inside_a_word_have_the_prefix_of_the_vocabulary(prefix):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", f"{prefix}b", "#"]
    vocab = {piece: id_ for id_, piece in enumerate(pieces)}
    model = models.WordPiece(vocab, unk_token="[UNK]", continuing_subword_prefix=prefix)
    tokenizer = Tokenizer(tokenizers.Tokenizer(model), BERT_SPECIALS)
    assert tokenizer.encode(["ab"]) == [[5, 6]]
    assert tokenizer.starts_word.tolist() == [True] * 6 + [False, True]
