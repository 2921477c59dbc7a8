"""Trimmed tokenizers segment text as before, with renumbered ids: handmade, random and real text, and through files."""

import dataclasses
import json
import pickle
import random

import pytest
import tokenizers
from tokenizers import AddedToken, models, normalizers, processors

from flax_lite.tokenization import Tokenizer, load_tokenizer, train_tokenizer, trim_tokenizer
from flax_lite.tokenization.recipes import (
    ALBERT_SPECIALS,
    BERT_SPECIALS,
    sentencepiece_backend,
    unigram_backend,
    wordpiece_backend,
)
from flax_lite.tokenization.sentencepiece_model import parse_sentencepiece_model
from tests.flax_lite.tokenization import tiny_files

TEXTS = ["The cats sat.", "the cat - a s", "the newword cat", "<e1> sat"]


def wordpiece_of(pieces, added=()):
    options = dict.fromkeys(("lowercase", "strip_accents", "chinese_characters"), True)
    return wordpiece_backend({piece: id_ for id_, piece in enumerate(pieces)}, BERT_SPECIALS, added=added, **options)


def build(kind, added=("newword", "<e1>", "unused")):
    """Returns a tiny tokenizer with added tokens after its vocabulary, the second of them special."""
    tokens = [AddedToken(text, special=text[0] == "<", normalized=text[0] != "<") for text in added]
    if kind == "wordpiece":
        backend = wordpiece_of(tiny_files.VOCAB, tokens)
        return Tokenizer(backend, BERT_SPECIALS, options={"do_lower_case": True, "model_max_length": 77})
    data = tiny_files.sentencepiece_file()
    model = parse_sentencepiece_model(data)
    backend = sentencepiece_backend(model, ALBERT_SPECIALS, lowercase=True, strip_accents=True, added=tokens)
    options = {"do_lower_case": True, "keep_accents": False, "model_max_length": 77}
    return Tokenizer(backend, ALBERT_SPECIALS, options=options, sentencepiece_model=data)


@pytest.fixture(params=["unigram", "wordpiece"])
def tokenizer(request):
    return build(request.param)


def used(tokenizer, texts):
    return sorted({*tokenizer.special_ids, *(id_ for ids in tokenizer.encode(texts) for id_ in ids)})


def assert_same_segmentation(tokenizer, trimmed, kept, texts):
    """Checks that texts of which all ids were kept have the same ids, renumbered; returns the number of these texts."""
    new = {old: index for index, old in enumerate(kept)}
    rows = zip(texts, tokenizer.encode(texts), trimmed.encode(texts), strict=True)
    spelled = [(text, ids, found) for text, ids, found in rows if new.keys() >= set(ids)]
    assert [(text, found) for text, _, found in spelled] == [
        (text, [new[id_] for id_ in ids]) for text, ids, _ in spelled
    ]
    return len(spelled)


def test_trim_tokenizer_keeps_pieces_segmentation_and_attributes(tokenizer):
    kept = used(tokenizer, TEXTS)
    trimmed = trim_tokenizer(tokenizer, kept)
    assert assert_same_segmentation(tokenizer, trimmed, kept, TEXTS) == len(TEXTS)
    assert trimmed.pieces == [tokenizer.pieces[id_] for id_ in kept]
    assert trimmed.pieces[-2:] == ["newword", "<e1>"]  # after the vocabulary, without the unused one
    assert trimmed.vocab_size == len(kept) < tokenizer.vocab_size
    assert (trimmed.kind, trimmed.specials) == (tokenizer.kind, tokenizer.specials)
    assert trimmed.special_ids == tuple(kept.index(id_) for id_ in tokenizer.special_ids)
    assert trimmed.starts_word.tolist() == tokenizer.starts_word[kept].tolist()
    rows = [each(["the cat", "a"], ["sat", "the"], max_length=9)["input_ids"] for each in (tokenizer, trimmed)]
    assert [[kept[id_] for id_ in row] for row in rows[1]] == rows[0].tolist()
    for before, after in zip(tokenizer.encode(TEXTS), trimmed.encode(TEXTS), strict=True):
        for skip in (True, False):
            assert trimmed.decode(after, skip_specials=skip) == tokenizer.decode(before, skip_specials=skip)


def test_trim_tokenizer_with_all_pieces_changes_nothing(tokenizer):
    assert trim_tokenizer(tokenizer, range(tokenizer.vocab_size)).fingerprint == tokenizer.fingerprint


def test_trim_tokenizer_twice_equals_once(tokenizer):
    """Also if the first trimming removed the piece with the lowest score."""
    first, both = used(tokenizer, TEXTS), used(tokenizer, TEXTS[:2])
    twice = trim_tokenizer(trim_tokenizer(tokenizer, first), [first.index(id_) for id_ in both])
    assert twice.fingerprint == trim_tokenizer(tokenizer, both).fingerprint


def test_trimmed_tokenizer_is_saved_and_loaded(tokenizer, tmp_path):
    """Saved into the directory of the original, whose spiece.model and vocab.txt must then be ignored."""
    tokenizer.save(tmp_path)
    trimmed = trim_tokenizer(tokenizer, used(tokenizer, TEXTS))
    trimmed.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 77
    for loaded in (load_tokenizer(tmp_path), load_tokenizer(tmp_path / "tokenizer.json")):
        assert (loaded.fingerprint, loaded.pieces) == (trimmed.fingerprint, trimmed.pieces)
        assert loaded.encode(TEXTS) == trimmed.encode(TEXTS)
    trimmed.save(tmp_path / "new")
    assert not (tmp_path / "new" / "spiece.model").exists()
    assert load_tokenizer(tmp_path / "new").fingerprint == trimmed.fingerprint


def test_trimmed_tokenizer_is_pickled(tokenizer):
    trimmed = trim_tokenizer(tokenizer, used(tokenizer, TEXTS))
    copy = pickle.loads(pickle.dumps(trimmed))  # noqa: S301
    assert copy.fingerprint == trimmed.fingerprint != tokenizer.fingerprint
    assert copy.encode(TEXTS) == trimmed.encode(TEXTS)


@pytest.mark.parametrize("processor", ["template", "bert", "roberta", "sequence", None])
def test_trim_tokenizer_renumbers_ids_of_the_post_processor(processor, tmp_path):
    """Read from the saved tokenizer.json by the `tokenizers` library alone."""
    pieces = ["a", "[PAD]", "[UNK]", "b", "[MASK]", "[SEP]", "c", "[CLS]"]
    sep, cls = ("[SEP]", 5), ("[CLS]", 7)
    post_processors = {
        "template": processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[sep, cls]),
        "bert": processors.BertProcessing(sep, cls),
        "roberta": processors.RobertaProcessing(sep, cls),
        "sequence": processors.Sequence([processors.ByteLevel(), processors.BertProcessing(sep, cls)]),
    }
    backend = wordpiece_of(pieces)
    if processor is None:
        content = json.loads(backend.to_str()) | {"post_processor": None}
        backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    else:
        backend.post_processor = post_processors[processor]
    trim_tokenizer(Tokenizer(backend, BERT_SPECIALS), [1, 2, 3, 4, 5, 7]).save(tmp_path)
    saved = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert saved.encode("b").ids == [5, 2, 4]
    assert saved.encode("b c").ids[-2:] == [1, 4]


def test_trim_tokenizer_renumbers_the_unknown_piece():
    tokenizer = build("unigram")
    vocab = [("▁", -1.0), ("▁x", -9.0), ("<pad>", 0.0), ("▁a", -2.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[MASK]", 0.0)]
    backend = unigram_backend([*vocab, ("<unk>", 0.0)], tokenizer.specials, normalizers.NFC())
    trimmed = trim_tokenizer(Tokenizer(backend, tokenizer.specials), [0, 2, 3, 4, 5, 6, 7])
    assert trimmed.unk_id == 6
    assert trimmed.encode(["a 日 x"]) == [[2, 0, 6, 0, 6]]


def test_trimmed_tokenizer_reads_unseen_characters_as_unknown(tokenizer):
    trimmed = trim_tokenizer(tokenizer, used(tokenizer, ["the cat"]))
    assert trimmed.unk_id in trimmed.encode(["the 日 cat"])[0]
    assert trimmed.encode(["zzz"])[0][-1] == trimmed.unk_id
    assert trimmed.encode([""]) == [[]]
    specials_only = trim_tokenizer(tokenizer, sorted(tokenizer.special_ids))
    assert set(specials_only.encode(["the cat [MASK] sat"])[0]) == {specials_only.unk_id, specials_only.mask_id}


def random_texts(generator, letters, count=300):
    return ["".join(generator.choices(letters + " ", k=generator.randrange(1, 12))) for _ in range(count)]


def random_pieces(generator, letters, first):
    """Returns pieces of up to four letters, and only some of the single letters."""
    pieces = {"".join(generator.choices(letters, k=generator.randrange(1, 5))) for _ in range(40)}
    return sorted({first + piece for piece in pieces if generator.random() < 0.5} | pieces)


def test_trimmed_unigram_segments_every_kept_text_as_before():
    """Viterbi: the old best path does not change, and no other candidate becomes better.

    A candidate is a piece that existed before, or an unknown character in place of a removed piece of one character,
    which scored more: the score of an unknown character is the same as before. Sums of floats are monotone, and the
    first of equal sums is chosen, so this is exact. In these random vocabularies some characters occur only within
    longer pieces, and the lowest score is far below the others, so an unknown character could become cheaper than known
    pieces.
    """
    generator = random.Random(0)
    spelled = unknown = 0
    for _ in range(60):
        pieces = ["▁", *random_pieces(generator, "abcd", "▁")]
        scores = [round(generator.uniform(-15, -1), generator.choice((0, 6))) for _ in pieces]
        scores[-1] = generator.choice((-1000.0, -30.0, scores[-1]))
        vocab = [(special, 0.0) for special in ALBERT_SPECIALS] + list(zip(pieces, scores, strict=True))
        tokenizer = Tokenizer(unigram_backend(vocab, ALBERT_SPECIALS, normalizers.NFC()), ALBERT_SPECIALS)
        kept = used(tokenizer, random_texts(generator, "abcd?", 20))
        texts = random_texts(generator, "abcd?")
        spelled += assert_same_segmentation(tokenizer, trim_tokenizer(tokenizer, kept), kept, texts)
        unknown += sum(tokenizer.unk_id in ids for ids in tokenizer.encode(texts) if set(ids) <= set(kept))
    assert spelled > 5000
    assert unknown > 1000


def test_trimmed_unigram_keeps_the_score_of_an_unknown_character():
    """The lowest score, that of the unused piece "w", determines the score of an unknown character.

    With "w", "▁x" "zy" scores -48, and "▁xz" with an unknown character -111 = -1 - 100 - 10. Without it the lowest
    score would be -24, and the second path the best, with -35.
    """
    specials = [(special, 0.0) for special in ALBERT_SPECIALS]
    vocab = [*specials, ("▁x", -24.0), ("zy", -24.0), ("▁xz", -1.0), ("w", -100.0)]
    tokenizer = Tokenizer(unigram_backend(vocab, ALBERT_SPECIALS, normalizers.NFC()), ALBERT_SPECIALS)
    kept = [*range(8)]
    assert tokenizer.encode(["xzy", "xz"]) == [[5, 6], [7]]
    trimmed = trim_tokenizer(tokenizer, kept)
    assert trimmed.encode(["xzy", "xz"]) == [[5, 6], [7]]
    renumbered = Tokenizer(unigram_backend(vocab[:-1], ALBERT_SPECIALS, normalizers.NFC()), ALBERT_SPECIALS)
    assert renumbered.encode(["xzy"]) == [[7, 1]]  # the result without the score of "w"


def test_trimmed_wordpiece_segments_every_kept_text_without_unknown_words_as_before():
    """Greedy: the longest matching piece is kept, so it is also the longest of the kept ones."""
    generator = random.Random(0)
    spelled = 0
    for _ in range(40):
        pieces = [*BERT_SPECIALS, *random_pieces(generator, "abcd", "##")]
        tokenizer = Tokenizer(wordpiece_of(pieces), BERT_SPECIALS)
        kept = used(tokenizer, random_texts(generator, "abcd", 20))
        texts = random_texts(generator, "abcd")
        texts = [text for text, ids in zip(texts, tokenizer.encode(texts), strict=True) if tokenizer.unk_id not in ids]
        spelled += assert_same_segmentation(tokenizer, trim_tokenizer(tokenizer, kept), kept, texts)
    assert spelled > 1000


def test_trimmed_wordpiece_may_spell_a_word_that_was_unknown():
    """The exception: "una" fails after "un", which is not counted as used; without "un", "u" "##na" matches."""
    tokenizer = Tokenizer(wordpiece_of([*BERT_SPECIALS, "un", "u", "##na"]), BERT_SPECIALS)
    assert tokenizer.encode(["una"]) == [[tokenizer.unk_id]]
    assert trim_tokenizer(tokenizer, [0, 1, 2, 3, 4, 6, 7]).encode(["una"]) == [[5, 6]]


@pytest.mark.parametrize("name", ["albert", "bert-base-uncased"])
def test_trimmed_tokenizer_segments_real_text_as_before(name, shared_data, tmp_path):
    """Pieces are counted in half of 762 lines of Wikipedia; compared are all lines of which every piece was kept."""
    tokenizer = load_tokenizer(shared_data / "tokenizers" / name)
    paths = sorted((shared_data / "pretrain" / "wiki").glob("*.txt"))
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    lines = [line[:400] for line in lines[::8]] + ["日本語 한국어 naïve 1,050 21,073"]
    lines += [word for line in lines[1::40] for word in line.split()]
    kept = used(tokenizer, lines[::2])
    trimmed = trim_tokenizer(tokenizer, kept)
    spelled = assert_same_segmentation(tokenizer, trimmed, kept, lines)
    assert len(lines) / 2 < spelled < len(lines)
    assert trimmed.vocab_size < 0.8 * tokenizer.vocab_size
    assert trimmed.starts_word.tolist() == tokenizer.starts_word[kept].tolist()
    assert any(tokenizer.unk_id in ids for ids in tokenizer.encode(lines))
    for text, ids in zip(lines[:100:2], trimmed.encode(lines[:100:2]), strict=True):
        assert trimmed.decode(ids) == tokenizer.decode(tokenizer.encode([text])[0])
    trimmed.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert loaded.fingerprint == trimmed.fingerprint
    assert loaded.encode(lines[1::40]) == trimmed.encode(lines[1::40])


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_trim_tokenizer_takes_trained_tokenizers(kind, tmp_path):
    texts = [f"a tale of {number} cities and {number * 7} seas" for number in range(50)]
    tokenizer = train_tokenizer(texts, kind, 60)
    kept = used(tokenizer, texts[:10])
    trimmed = trim_tokenizer(tokenizer, kept)
    assert assert_same_segmentation(tokenizer, trimmed, kept, texts) >= 10
    trimmed.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == trimmed.fingerprint


def test_trim_tokenizer_with_byte_fallback_keeps_the_bytes_that_were_chosen():
    """A tokenizer.json may encode an unknown character as pieces for its bytes, if all of these exist."""
    vocab = [(special, 0.0) for special in ALBERT_SPECIALS] + [("▁", -1.0), ("a", -2.0)]
    vocab += [(f"<0x{byte:02X}>", -3.0 - byte / 256) for byte in "éè€".encode()[1:]] + [("<0xC3>", -3.5)]
    vocab = list(dict(vocab).items())
    backend = unigram_backend(vocab, ALBERT_SPECIALS, normalizers.NFC())
    backend.model = models.Unigram(vocab, 1, True)
    tokenizer = Tokenizer(backend, ALBERT_SPECIALS)
    texts = ["a é", "aéa", "日"]
    kept = used(tokenizer, texts)
    assert len(tokenizer.encode(["é"])[0]) == 3
    trimmed = trim_tokenizer(tokenizer, kept)
    assert assert_same_segmentation(tokenizer, trimmed, kept, texts) == 3
    assert trimmed.encode(["€"])[0][-1] == trimmed.unk_id


@pytest.mark.parametrize("special", range(5))
def test_trim_tokenizer_refuses_to_remove_a_special_token(tokenizer, special):
    kept = [id_ for id_ in range(tokenizer.vocab_size) if id_ != tokenizer.special_ids[special]]
    name = dataclasses.astuple(tokenizer.specials)[special]
    with pytest.raises(ValueError, match="kept lacks") as caught:
        trim_tokenizer(tokenizer, kept)
    assert f"{name} (id {tokenizer.special_ids[special]});" in str(caught.value)


def test_trim_tokenizer_refuses_to_remove_tokens_of_the_post_processor(tokenizer):
    tokenizer._backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("newword", tokenizer.vocab_size - 3))
    with pytest.raises(ValueError, match=r"kept lacks newword \(id \d+\); it must include the special tokens"):
        trim_tokenizer(tokenizer, range(10))


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([0, 1, 2, 3, 4, 7, 6], "kept has 6 after 7; expected rising ids, each once"),
        ([0, 1, 2, 3, 4, 6, 6], "kept has 6 after 6"),
        ([-1, 0, 1, 2, 3, 4], "kept has the id -1; there are"),
        ([0, 1, 2, 3, 4, 999], r"kept has the id 999; there are \d\d pieces, 0 to \d\d"),
        ([], r"kept lacks .{5} \(id 0\), "),
    ],
)
def test_trim_tokenizer_refuses_wrong_ids(tokenizer, kept, message):
    with pytest.raises(ValueError, match=message):
        trim_tokenizer(tokenizer, kept)


SETTINGS = {"token_types": False, "truncation_side": "left", "odd_token_to_first": True, "clean_up_spaces": True}


@pytest.mark.parametrize("name", SETTINGS)
def test_trimmed_tokenizer_keeps_its_settings(name):
    """Token types, truncation and the cleanup of spaces."""
    whole = Tokenizer(wordpiece_of(tiny_files.VOCAB), BERT_SPECIALS, **{name: SETTINGS[name]})
    trimmed = trim_tokenizer(whole, used(whole, TEXTS))
    attributes = {name: name for name in SETTINGS}
    attributes |= {"token_types": "has_token_types", "clean_up_spaces": "cleans_up_spaces"}
    assert getattr(trimmed, attributes[name]) == getattr(whole, attributes[name]) == SETTINGS[name]
