"""Settings of a tokenizer are used, inert or refused by name: cases by file and key."""

import json

import numpy as np
import pytest

from flax_lite.files.names import VOCABULARIES
from flax_lite.tokenization import load_tokenizer
from flax_lite.tokenization.settings import CLASSES, PIPELINE, SETTINGS, SPECIALS
from tests.flax_lite.tokenization import tiny_files

CONFIG, SETTINGS_FILE, MAP = "config.json", "tokenizer_config.json", "special_tokens_map.json"
VOCAB = [*tiny_files.VOCAB, "[unused1]", "[unused2]", "un-want"]
TEXTS = ["The cat sat, un-wanted.", "the[unused1]cat [unused2] [MASK]", "a " * 20]
PAIR = ["a cat", "the"]


def write(directory, **files):
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))


def rows(tokenizer):
    """Returns everything that a setting can change: rows of texts, truncated and padded, and of a pair."""
    single, pair = tokenizer(TEXTS, max_length=12), tokenizer(PAIR[:1], PAIR[1:], max_length=12)
    return {name: np.concatenate([single[name], pair[name]]).tolist() for name in single}


INERT = [
    {"name_or_path": "a/b", "tokenizer_file": "/x/tokenizer.json", "special_tokens_map_file": None},
    {"chat_template": "{{ x }}", "auto_map": {"AutoTokenizer": ["x.Y", None]}, "processor_class": "P"},
    {"clean_up_tokenization_spaces": True, "max_length": 3, "stride": 2, "truncation_strategy": "only_second"},
    {"padding_side": "right", "split_special_tokens": False, "never_split": None, "do_basic_tokenize": True},
    {"wordpieces_prefix": "##", "sp_model_kwargs": {}, "remove_space": True, "add_prefix_space": False},
    {"backend": "tokenizers", "is_local": True, "local_files_only": True, "model_max_length": 1e30},
    {"bos_token": None, "additional_special_tokens": [], "extra_special_tokens": {}, "strip_accents": None},
    {"tokenizer_class": "BertTokenizerFast"},
    {"unknown_key": [1]},
]


@pytest.mark.parametrize("values", INERT, ids=lambda values: next(iter(values)))
def test_inert_settings_change_nothing(values, tmp_path):
    tiny_files.write_vocab(tmp_path, VOCAB)
    write(tmp_path, config={"model_type": "bert"})
    plain = rows(load_tokenizer(tmp_path))
    write(tmp_path, tokenizer_config=values)
    assert rows(load_tokenizer(tmp_path)) == plain


REFUSED = {
    "padding_side": (SETTINGS_FILE, "left"),
    "split_special_tokens": (SETTINGS_FILE, True),
    "never_split": (SETTINGS_FILE, ["un-wanted"]),
    "do_basic_tokenize": (SETTINGS_FILE, False),
    "word_tokenizer_type": (SETTINGS_FILE, "mecab"),
    "subword_tokenizer_type": (SETTINGS_FILE, "character"),
    "wordpieces_prefix": (SETTINGS_FILE, "@@"),
    "remove_space": (SETTINGS_FILE, False),
    "sp_model_kwargs": (SETTINGS_FILE, {"enable_sampling": True, "alpha": 0.1}),
    "from_slow": (SETTINGS_FILE, True),
    "add_bos_token": (SETTINGS_FILE, True),
    "truncation_side": (SETTINGS_FILE, "middle"),
    "model_input_names": (SETTINGS_FILE, "token_type_ids"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_settings_that_would_change_ids_are_refused_by_name(key, tmp_path):
    file, value = REFUSED[key]
    tiny_files.write_vocab(tmp_path, VOCAB)
    (tmp_path / file).write_text(json.dumps({key: value}))
    with pytest.raises(ValueError, match=f"{key}={str(value)[0] if isinstance(value, bool) else ''}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("file", [CONFIG, SETTINGS_FILE])
@pytest.mark.parametrize(
    "name", ["BertJapaneseTokenizer", "BertSudachipyTokenizer", "BertweetTokenizer", "XLNetTokenizer", "T5Tokenizer", 7]
)
def test_classes_that_split_differently_are_refused(file, name, tmp_path):
    """In either file, and with any vocabulary."""
    for write_vocabulary in (tiny_files.write_vocab, tiny_files.write_sentencepiece):
        write_vocabulary(tmp_path)
        (tmp_path / file).write_text(json.dumps({"model_type": "bert", "tokenizer_class": name}))
        with pytest.raises(ValueError, match=f"{file} has tokenizer_class={name!r}"):
            load_tokenizer(tmp_path)


def test_a_class_in_the_settings_overrides_one_in_the_config(tmp_path):
    tiny_files.write_vocab(tmp_path)
    write(tmp_path, config={"tokenizer_class": "BertJapaneseTokenizer"}, tokenizer_config={"tokenizer_class": None})
    with pytest.raises(ValueError, match="BertJapanese"):
        load_tokenizer(tmp_path)
    write(tmp_path, tokenizer_config={"tokenizer_class": "BertTokenizer"})
    assert load_tokenizer(tmp_path).kind == "wordpiece"


def test_a_class_that_reads_another_file_is_refused(tmp_path):
    """XLM-R's rows and ids are in its tokenizer.json; its SentencePiece model has other ids."""
    tiny_files.write_sentencepiece(tmp_path).rename(tmp_path / "spiece.model")
    write(tmp_path, tokenizer_config={"tokenizer_class": "XLMRobertaTokenizer"})
    with pytest.raises(
        ValueError, match=r"XLMRobertaTokenizer, which is read from tokenizer.json; it holds only spiece.model"
    ):
        load_tokenizer(tmp_path)


UNUSED = [VOCAB.index("[unused1]"), VOCAB.index("[unused2]")]
IN_VOCABULARY = {
    "settings": {"tokenizer_config": {"additional_special_tokens": ["[unused1]", "[unused2]"]}},
    "map": {"special_tokens_map": {"additional_special_tokens": ["[unused1]", {"content": "[unused2]"}]}},
    "both": {
        "tokenizer_config": {"additional_special_tokens": ["[unused1]"]},
        "special_tokens_map": {"additional_special_tokens": ["[unused2]", "[unused1]"]},
    },
    "extra, a list": {"tokenizer_config": {"extra_special_tokens": ["[unused1]", "[unused2]"]}},
    "extra, by name": {"tokenizer_config": {"extra_special_tokens": {"a_token": "[unused1]", "b": "[unused2]"}}},
    "roles": {"tokenizer_config": {"bos_token": "[unused1]", "eos_token": {"content": "[unused2]", "special": True}}},
    "decoder": {
        "tokenizer_config": {
            "added_tokens_decoder": {
                str(UNUSED[0]): {"content": "[unused1]", "special": True},
                str(UNUSED[1]): {"content": "[unused2]", "special": True, "normalized": False},
            }
        }
    },
    "list of added": {"added_tokens": {"[unused1]": UNUSED[0], "[unused2]": UNUSED[1]}},
}


@pytest.mark.parametrize("layout", IN_VOCABULARY)
@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
def test_special_tokens_inside_the_vocabulary_are_never_split(layout, file, tmp_path):
    tiny_files.write_vocab(tmp_path, VOCAB)
    if file == "tokenizer.json":
        load_tokenizer(tmp_path).save(tmp_path)
        for name in ("vocab.txt", SETTINGS_FILE, MAP):
            (tmp_path / name).unlink()
    write(tmp_path, **IN_VOCABULARY[layout])
    the, cat = VOCAB.index("the"), VOCAB.index("cat")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode(["the[unused1]cat [unused2]"]) == [[the, UNUSED[0], cat, UNUSED[1]]]
    assert tokenizer.vocab_size == len(VOCAB)
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint


INPUTS = ["input_ids", "attention_mask"]
TYPES = {
    "settings": ({"model_input_names": INPUTS}, {"model_type": "bert"}, False),
    "settings, with types": ({"model_input_names": [*INPUTS, "token_type_ids"]}, {"model_type": "bert"}, True),
    "class": ({"tokenizer_class": "DistilBertTokenizer"}, {"model_type": "bert"}, False),
    "class and settings": (
        {"tokenizer_class": "DistilBertTokenizer", "model_input_names": [*INPUTS, "token_type_ids"]},
        {"model_type": "albert"},
        True,
    ),
    "model without types": ({"model_input_names": INPUTS}, {"model_type": "distilbert"}, True),
    "default": ({}, {"model_type": "bert"}, True),
}


@pytest.mark.parametrize("case", TYPES)
def test_rows_have_token_types_if_the_directory_says_so(case, tmp_path):
    """A DistilBERT reads none, but its tokenizer may be used for a model that does."""
    settings, config, expected = TYPES[case]
    tiny_files.write_vocab(tmp_path)
    write(tmp_path, tokenizer_config=settings, config=config)
    tokenizer = load_tokenizer(tmp_path)
    assert bool(tokenizer(PAIR[:1], PAIR[1:], max_length=9)["token_type_ids"].any()) == expected
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").has_token_types == expected


SIDES = {
    "settings": ({"truncation_side": "left"}, {}),
    "pipeline": ({}, {"truncation": {"max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Left"}}),
    "settings before the pipeline": (
        {"truncation_side": "left"},
        {"truncation": {"max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}},
    ),
}


@pytest.mark.parametrize("case", SIDES)
def test_texts_are_truncated_on_the_configured_side(case, tmp_path):
    settings, pipeline = SIDES[case]
    load_tokenizer(tiny_files.write_vocab(tmp_path)).save(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    write(tmp_path, tokenizer=content | pipeline, tokenizer_config=settings)
    tokenizer = load_tokenizer(tmp_path)
    the, cat, sat = (tokenizer.pieces.index(word) for word in ("the", "cat", "sat"))
    assert tokenizer(["the cat sat"], max_length=4)["input_ids"].tolist() == [[2, cat, sat, 3]]
    pair = tokenizer(["the cat"], ["cat cat sat"], max_length=6)["input_ids"].tolist()
    assert pair == [[2, cat, 3, cat, sat, 3]]
    assert the not in pair[0]


CASES = {
    "no file": (None, [*tiny_files.VOCAB, "<S>", "<T>", "[unused9]"], True),
    "no file, a word in capitals": (None, [*tiny_files.VOCAB, "The"], False),
    "no file, a piece in capitals": (None, [*tiny_files.VOCAB, "##Ed"], False),
    "no file, other scripts": (None, [*tiny_files.VOCAB, "Привет"], False),
    "no file, letters without lower case": (None, [*tiny_files.VOCAB, "今", "ℝ", "א", "²"], True),
    "a file without the key": ({}, [*tiny_files.VOCAB, "The"], True),
    "a file with false": ({"do_lower_case": False}, tiny_files.VOCAB, False),
}


@pytest.mark.parametrize("case", CASES)
def test_text_is_lower_cased_by_the_settings_or_the_vocabulary(case, tmp_path, caplog):
    settings, pieces, expected = CASES[case]
    tiny_files.write_vocab(tmp_path, pieces)
    if settings is not None:
        write(tmp_path, tokenizer_config=settings)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.encode(["THE"]) == tokenizer.encode(["the"])) == expected
    assert ("text is not lower-cased" in caplog.text) == (settings is None and not expected)


LINES = {
    "repeated": (["cat"], {"cat": len(tiny_files.VOCAB)}),
    "blank inside": (["", "new"], {"new": len(tiny_files.VOCAB) + 1}),
    "blank twice": (["", "", "new"], {"new": len(tiny_files.VOCAB) + 2}),
    "repeated special token": (["[MASK]", "new"], {"[MASK]": len(tiny_files.VOCAB), "new": len(tiny_files.VOCAB) + 1}),
    "blank at the end": (["new", "", ""], {"new": len(tiny_files.VOCAB)}),
}


@pytest.mark.parametrize("case", LINES)
def test_lines_of_a_vocabulary_keep_their_numbers(case, tmp_path, caplog):
    """A blank line or repeated piece shifts no other id; a repeated piece has the id of its last line, as in BERT."""
    lines, expected = LINES[case]
    tiny_files.write_vocab(tmp_path, [*tiny_files.VOCAB, *lines])
    tokenizer = load_tokenizer(tmp_path)
    assert {piece: tokenizer.encode([piece])[0] for piece in expected} == {p: [id_] for p, id_ in expected.items()}
    assert ("they keep their ids" in caplog.text) == (case != "blank at the end")
    tokenizer.save(tmp_path / "saved")
    for name in ("", "vocab.txt"):
        assert load_tokenizer(tmp_path / "saved" / name).encode(["cat new"]) == tokenizer.encode(["cat new"])


@pytest.mark.parametrize("name", ["vocab_chinese.txt", "vocab_v2.txt"])
def test_a_single_vocabulary_of_another_name_is_found(name, tmp_path):
    tiny_files.write_vocab(tmp_path).rename(tmp_path / name)
    assert load_tokenizer(tmp_path).vocab_size == len(tiny_files.VOCAB)
    (tmp_path / "vocab_b.txt").write_text("a\n")
    with pytest.raises(ValueError, match="several other vocabularies: vocab_"):
        load_tokenizer(tmp_path)


def test_every_key_has_one_row():
    """Every refused key has a reason, and the tables name known files."""
    for table in (SETTINGS, SPECIALS, PIPELINE):
        assert all(row.why for row in table.values() if row.use == "refused")
    assert SPECIALS.keys() < SETTINGS.keys()
    assert all(set(row.files) <= set(VOCABULARIES) for row in CLASSES.values())
