"""Directories written here and by transformers, read by the other: the same ids, token types and text."""

import json

import pytest

from flax_lite.tokenization import load_tokenizer, train_tokenizer
from tests.flax_lite.tokenization import tiny_files

pytestmark = pytest.mark.compat

TEXTS = [
    "The cat's (1,050) café ``sat''.",
    "the [MASK] sat <unk>-cat <PAD> [SEP]",
    "  un-wanted,  日本 21,050 unwanted ",
    "",
]
TRAINING_TEXTS = ["the cat sat, unwanted", "the cat's hat", "1,050 cats (and a dog) sat"] * 3


def tiny_tokenizer(kind, directory):
    if kind == "spiece.model":
        return load_tokenizer(tiny_files.write_sentencepiece(directory))
    if kind == "vocab.txt":
        return load_tokenizer(tiny_files.write_vocab(directory))
    return train_tokenizer(TRAINING_TEXTS, kind, 80)


def check_same(tokenizer, other):
    ids = tokenizer.encode(TEXTS)
    assert [other(text, add_special_tokens=False)["input_ids"] for text in TEXTS] == ids
    assert len(other) == tokenizer.vocab_size
    specials = (other.pad_token_id, other.unk_token_id, other.cls_token_id, other.sep_token_id, other.mask_token_id)
    assert specials == tokenizer.special_ids
    pair = other(TEXTS[:2], TEXTS[2:], padding="max_length", max_length=64, truncation=True)
    rows = tokenizer(TEXTS[:2], TEXTS[2:], max_length=64)
    assert {name: pair[name] for name in rows} == {name: array.tolist() for name, array in rows.items()}
    if other.is_fast:  # the slow classes join words differently
        decoded = [other.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False) for row in ids]
        assert decoded == [tokenizer.decode(row) for row in ids]


@pytest.mark.parametrize("kind", ["spiece.model", "vocab.txt", "unigram", "wordpiece"])
def test_auto_tokenizer_gives_the_same_ids(kind, tmp_path):
    """With the installed transformers, of the two supported lines 4.57 and 5."""
    transformers = pytest.importorskip("transformers", minversion="4.57")
    tokenizer = tiny_tokenizer(kind, tmp_path)
    tokenizer.save(tmp_path / "saved")
    check_same(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path / "saved"))


@pytest.mark.reference
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("spiece.model", "AlbertTokenizer"),
        ("spiece.model", "AlbertTokenizerFast"),
        ("vocab.txt", "BertTokenizer"),
        ("vocab.txt", "BertTokenizerFast"),
        ("unigram", "AlbertTokenizerFast"),
        ("wordpiece", "BertTokenizer"),
        ("wordpiece", "BertTokenizerFast"),
    ],
)
def test_the_classes_of_transformers_4_give_the_same_ids(kind, name, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="4.57")
    if transformers.__version__.startswith("5."):
        pytest.skip("transformers 5 rebuilds the pipeline in classes of this name; use AutoTokenizer there")
    tokenizer = tiny_tokenizer(kind, tmp_path)
    tokenizer.save(tmp_path / "saved")
    check_same(tokenizer, getattr(transformers, name).from_pretrained(tmp_path / "saved"))


@pytest.mark.parametrize("name", ["albert", "bert-base-uncased"])
def test_auto_tokenizer_gives_the_same_ids_with_published_vocabularies(name, shared_data, tmp_path):
    transformers = pytest.importorskip("transformers", minversion="4.57")
    tokenizer = load_tokenizer(shared_data / "tokenizers" / name)
    tokenizer.save(tmp_path)
    check_same(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path))


def written_by(name, directory, added, **options):
    """Returns a directory written by a class of the installed transformers, and that tokenizer."""
    transformers = pytest.importorskip("transformers", minversion="4.57")
    source = directory / "source"
    source.mkdir()
    if "Albert" in name:
        tiny_files.write_sentencepiece(source)
    else:
        tiny_files.write_vocab(source)
    tokenizer = getattr(transformers, name).from_pretrained(source, **options)
    if added:
        tokenizer.add_tokens(["flaxlite", "Two Words"])
        tokenizer.add_special_tokens({"additional_special_tokens": ["<e1>"]})
    tokenizer.save_pretrained(directory / "written")
    return directory / "written", tokenizer


@pytest.mark.parametrize("added", [False, True], ids=["plain", "added"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AlbertTokenizer", {}),
        ("BertTokenizer", {}),
        ("BertTokenizer", {"do_lower_case": False}),
        ("BertTokenizer", {"strip_accents": False, "tokenize_chinese_chars": False, "truncation_side": "left"}),
        ("DistilBertTokenizer", {}),
        ("BertTokenizerFast", {}),
        ("ElectraTokenizer", {"model_max_length": 16}),
    ],
    ids=str,
)
def test_directories_that_transformers_writes_give_its_ids(name, options, added, tmp_path):
    """4.57 writes spiece.model or vocab.txt, and in fast classes also tokenizer.json; 5 writes only tokenizer.json."""
    directory, other = written_by(name, tmp_path, added, **options)
    tokenizer = load_tokenizer(directory)
    texts = [*TEXTS[:-1], "a flaxlite, <e1>Flaxlites two words the Two Words<e1> cat"]
    assert tokenizer.encode(texts) == [other(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert tokenizer.vocab_size == len(other)
    rows = tokenizer(texts[:2], texts[2:], max_length=128)
    assert rows["token_type_ids"].any(1).all()
    pair = other(texts[:2], texts[2:], padding="max_length", max_length=128)
    assert {name: pair[name] for name in pair} == {name: rows[name].tolist() for name in pair}
    tokenizer.save(tmp_path / "saved")
    check_same(tokenizer, pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path / "saved"))


@pytest.mark.reference
@pytest.mark.parametrize("added", [False, True], ids=["plain", "added"])
def test_the_fast_albert_of_transformers_4_is_read_as_the_slow_one(added, tmp_path):
    """Its conversion of spiece.model has other ids than the published weights; the directory names the slow class."""
    transformers = pytest.importorskip("transformers")
    if transformers.__version__.startswith("5."):
        pytest.skip("transformers 5 has one class, which writes no spiece.model")
    directory, fast = written_by("AlbertTokenizerFast", tmp_path, added)
    assert {path.name for path in directory.iterdir()} >= {"spiece.model", "tokenizer.json"}
    slow = transformers.AlbertTokenizer.from_pretrained(directory)
    texts = [*TEXTS, "a flaxlite, <e1>Flaxlites two words<e1> cat"]
    ids = [slow(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert load_tokenizer(directory).encode(texts) == ids
    assert load_tokenizer(directory).vocab_size == len(fast)


def test_albert_with_a_bert_vocabulary_gives_the_ids_of_its_tokenizer_class(tmp_path):
    """Chinese ALBERT models are published with a vocab.txt, no tokenizer settings, and the class in config.json."""
    transformers = pytest.importorskip("transformers", minversion="4.57")
    config = {"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "tokenizer_class": "BertTokenizer"}
    for name in ("published", "saved"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    tiny_files.write_vocab(tmp_path / "published", tiny_files.CHINESE_VOCAB)
    tokenizer = load_tokenizer(tmp_path / "published")
    assert tokenizer.kind == "wordpiece"
    tokenizer.save(tmp_path / "saved")
    texts = ["今天天气很好。", "The日本abc, 今[MASK]好"]
    for name in ("published", "saved"):
        other = transformers.AutoTokenizer.from_pretrained(tmp_path / name)
        pair = other(texts, texts[::-1], padding="max_length", max_length=32)
        rows = tokenizer(texts, texts[::-1], max_length=32)
        assert {name: pair[name] for name in rows} == {name: array.tolist() for name, array in rows.items()}
    size = len(tiny_files.CHINESE_VOCAB)
    assert tokenizer.encode(texts[:1]) == [[5, 6, 6, 7, 8, 9, size - 2]]


# Model type, vocabulary file, tokenizer_config.json, and whether decoded text has its spaces cleaned up.
CLEANED_UP = [
    ("bert", "vocab.txt", {}, True),
    ("distilbert", "vocab.txt", {}, True),
    ("bert", "vocab.txt", {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True}, True),
    ("bert", "vocab.txt", {"clean_up_tokenization_spaces": False}, False),
    ("bert", "vocab.txt", {"clean_up_tokenization_spaces": None}, False),
    ("bert", "tokenizer.json", {}, False),
    ("bert", "tokenizer.json", {"tokenizer_class": "ElectraTokenizer"}, False),
    ("distilbert", "tokenizer.json", {"clean_up_tokenization_spaces": True}, True),
    ("bert", "tokenizer.json", {"tokenizer_class": "PreTrainedTokenizerFast"}, False),
    ("albert", "spiece.model", {}, False),
    ("albert", "spiece.model", {"clean_up_tokenization_spaces": True}, True),
]


@pytest.mark.reference
@pytest.mark.parametrize(("model_type", "file", "settings", "expected"), CLEANED_UP)
def test_spaces_of_decoded_text_are_cleaned_up_as_the_directory_says(model_type, file, settings, expected, tmp_path):
    """Compared before and after saving with transformers 4.57; transformers 5 does it differently."""
    transformers = pytest.importorskip("transformers")
    if file == "spiece.model":
        tiny_files.write_sentencepiece(tmp_path)
    else:
        load_tokenizer(tiny_files.write_vocab(tmp_path)).save(tmp_path / "all")
        (tmp_path / file).write_bytes((tmp_path / "all" / file).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.cleans_up_spaces is expected
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    others = [transformers.AutoTokenizer.from_pretrained(each) for each in (tmp_path, tmp_path / "saved")]
    for row in tokenizer.encode(["the cat's sat, a ' b ' s . 's ' a , a", "a's b . , ' s"]):
        text = tokenizer.decode(row, clean_up_spaces=True)
        assert [other.decode(row, skip_special_tokens=True) for other in others] == [text] * 2
        assert again.decode(row, clean_up_spaces=True) == text
        assert (text != tokenizer.decode(row)) is expected


def test_spaces_are_cleaned_up_by_default_for_a_vocab_txt(tmp_path):
    tokenizer = load_tokenizer(tiny_files.write_vocab(tmp_path))
    (row,) = tokenizer.encode(["the cat's sat, a. want'm 've n't ? !"])
    assert tokenizer.decode(row, clean_up_spaces=True).startswith("the cat's sat, a.")
    assert tokenizer.decode(row).startswith("the cat ' s sat, a.")
    assert not train_tokenizer(TRAINING_TEXTS, "wordpiece", 80).cleans_up_spaces
    assert not load_tokenizer(tiny_files.write_sentencepiece(tmp_path)).cleans_up_spaces
