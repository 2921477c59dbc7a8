import json
import pickle
import shutil

import pytest

from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.tokenization import tiny_files


@pytest.fixture(params=["unigram", "wordpiece"])
def source(request, tmp_path):
    """A tiny tokenizer file of either kind, alone in a directory."""
    directory = tmp_path / "source"
    directory.mkdir()
    return (
        tiny_files.write_sentencepiece(directory) if request.param == "unigram" else tiny_files.write_vocab(directory)
    )


def write_config(directory, **entries):
    (directory / "tokenizer_config.json").write_text(json.dumps(entries))


def lowercases(tokenizer):
    return tokenizer.encode(["THE"]) == tokenizer.encode(["the"])


def test_file_and_its_directory_are_the_same_tokenizer(source):
    assert load_tokenizer(source).fingerprint == load_tokenizer(str(source.parent)).fingerprint


@pytest.mark.compat
def test_saved_tokenizer_comes_back_with_its_fingerprint(source, tmp_path):
    tokenizer = load_tokenizer(source)
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint
    assert load_tokenizer(tmp_path / "saved" / "tokenizer.json").fingerprint == tokenizer.fingerprint
    assert (tmp_path / "saved" / source.name).read_bytes() == source.read_bytes()


def test_saving_again_writes_the_same_bytes(source, tmp_path):
    load_tokenizer(source).save(tmp_path / "once")
    for file in ("tokenizer.json", source.name):  # read from either file
        load_tokenizer(tmp_path / "once" / file).save(tmp_path / "twice")
        first, second = ((tmp_path / name / "tokenizer.json").read_bytes() for name in ("once", "twice"))
        assert first == second


def test_scores_of_all_digits_survive_saving(tmp_path):
    """`tokenizers` reads a long decimal with a wrong last bit, for 7,859 of the 30,000 scores of albert-base-v2."""
    pieces = [(text, score - 1 / (3 + index), kind) for index, (text, score, kind) in enumerate(tiny_files.PIECES)]
    tokenizer = load_tokenizer(tiny_files.write_sentencepiece(tmp_path, pieces=pieces))
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved" / "tokenizer.json").fingerprint == tokenizer.fingerprint
    assert pickle.loads(pickle.dumps(tokenizer)).fingerprint == tokenizer.fingerprint  # noqa: S301


def test_options_survive_saving(source, tmp_path):
    tokenizer = load_tokenizer(source, lowercase=False, strip_accents=True)
    assert not lowercases(tokenizer)
    tokenizer.save(tmp_path / "saved")
    for name in ("", "tokenizer.json", source.name):
        assert load_tokenizer(tmp_path / "saved" / name).fingerprint == tokenizer.fingerprint


def test_tokenizer_config_decides_unless_an_argument_does(source):
    assert lowercases(load_tokenizer(source))
    write_config(source.parent, do_lower_case=False)
    assert not lowercases(load_tokenizer(source))
    assert lowercases(load_tokenizer(source, lowercase=True))


def test_accents_are_kept_on_request(tmp_path):
    path = tiny_files.write_vocab(tmp_path, [*tiny_files.VOCAB, "cát", "CÁT"])
    assert load_tokenizer(path, lowercase=True).encode(["CÁT"]) == [[tiny_files.VOCAB.index("cat")]]
    assert load_tokenizer(path, lowercase=True, strip_accents=False).encode(["CÁT"]) == [[len(tiny_files.VOCAB)]]
    assert load_tokenizer(path, lowercase=False).encode(["CÁT"]) == [[len(tiny_files.VOCAB) + 1]]


def test_a_vocabulary_with_capitals_is_cased(tmp_path):
    assert lowercases(load_tokenizer(tiny_files.write_vocab(tmp_path, [*tiny_files.VOCAB, "[unused7]"])))
    assert not lowercases(load_tokenizer(tiny_files.write_vocab(tmp_path, [*tiny_files.VOCAB, "The"])))


def test_cjk_characters_are_words_unless_told_otherwise(tmp_path):
    path = tiny_files.write_vocab(tmp_path, [*tiny_files.VOCAB, "日", "本", "##本"])
    size = len(tiny_files.VOCAB)
    assert load_tokenizer(path).encode(["a日本a"]) == [
        [tiny_files.VOCAB.index("a"), size, size + 1, tiny_files.VOCAB.index("a")]
    ]
    write_config(tmp_path, tokenize_chinese_chars=False)
    assert load_tokenizer(path).encode(["日本"]) == [[size, size + 2]]


def test_special_tokens_may_have_other_names(tmp_path):
    path = tiny_files.write_vocab(tmp_path, ["<blank>", *tiny_files.VOCAB])
    write_config(tmp_path, pad_token={"content": "<blank>", "lstrip": False}, unk_token="[UNK]")
    assert load_tokenizer(path).special_ids == (0, 2, 3, 4, 5)


def test_sentencepiece_wins_over_a_conversion_of_it(tmp_path):
    """Published tokenizer.json files of ALBERT lack its comma rule; the weights were trained with spiece.model.

    If the directory names a class that reads only tokenizer.json, that file is read.
    """
    load_tokenizer(tiny_files.write_sentencepiece(tmp_path)).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert load_tokenizer(tmp_path).encode(["1,050"]) == load_tokenizer(tmp_path / "tokenizer.json").encode(["1,050"])
    write_config(tmp_path, tokenizer_class="AlbertTokenizer")
    converted = load_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode(["1,050"]) != converted.encode(["1,050"])
    assert tokenizer.fingerprint == load_tokenizer(tmp_path / "spiece.model").fingerprint


def test_a_pipeline_with_other_pieces_wins_over_sentencepiece(tmp_path):
    """A tokenizer.json with another vocabulary is not a conversion of the spiece.model beside it."""
    load_tokenizer(tiny_files.write_sentencepiece(tmp_path)).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"].append(["▁new", -1.0])
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    size = len(tiny_files.PIECES)
    assert load_tokenizer(tmp_path).encode(["new"]) == [[size]]
    assert load_tokenizer(tmp_path / "spiece.model").vocab_size == size


def test_a_pipeline_of_other_tools_needs_no_special_entries(tmp_path):
    """An old tokenizer.json: no model type, no registered special tokens, with padding and truncation enabled."""
    load_tokenizer(tiny_files.write_vocab(tmp_path)).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    del content["model"]["type"]
    content |= {"added_tokens": [], "post_processor": None}
    content["truncation"] = {"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    path = tmp_path / "old" / "tokenizer.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    tokenizer = load_tokenizer(path.parent)
    assert tokenizer.encode(["the [MASK] sat ."]) == [[5, 4, 7, tiny_files.VOCAB.index(".")]]


def test_google_release_names_are_found(tmp_path):
    shutil.move(tiny_files.write_sentencepiece(tmp_path), tmp_path / "30k-clean.model")
    assert load_tokenizer(tmp_path).kind == "unigram"


def test_token_types_can_be_left_out_for_other_tools(source, tmp_path):
    tokenizer = load_tokenizer(source)
    tokenizer.save(tmp_path / "with")
    tokenizer.save(tmp_path / "without", token_types=False)
    names = [
        json.loads((tmp_path / d / "tokenizer_config.json").read_text())["model_input_names"]
        for d in ("with", "without")
    ]
    assert names == [["input_ids", "token_type_ids", "attention_mask"], ["input_ids", "attention_mask"]]


def test_max_length_comes_from_the_files_or_from_the_model(source, tmp_path):
    def written(name, **options):
        load_tokenizer(source).save(tmp_path / name, **options)
        return json.loads((tmp_path / name / "tokenizer_config.json").read_text())["model_max_length"]

    assert (written("one"), written("two", max_length=1024)) == (512, 1024)
    write_config(source.parent, model_max_length=77)
    assert written("three", max_length=1024) == 77


def test_unknown_sources_are_looked_up_on_the_hub(monkeypatch, tmp_path):
    """The tests run offline; downloads are tested in tests/flax_lite/checkpoints/sources/hub_test.py."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ValueError, match=f"no directory 'albert/x@v2', and from the hub: for albert/x@v2 the cache at {tmp_path}"
    ):
        load_tokenizer("albert/x@v2")
    with pytest.raises(ValueError, match="'no/such/directory' is neither a directory nor a model id"):
        load_tokenizer("no/such/directory")
    with pytest.raises(ValueError, match=r"'no-such-directory/vocab.txt' is neither"):
        load_tokenizer("no-such-directory/vocab.txt")


def test_a_directory_without_tokenizer_is_an_error_that_names_the_files(tmp_path):
    with pytest.raises(ValueError, match=r"holds no spiece.model, tokenizer.json or vocab.txt"):
        load_tokenizer(tmp_path)
    for name in ("a.model", "b.model"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"several other vocabularies: a.model, b.model; name one file"):
        load_tokenizer(tmp_path)


def change_model(content, **entries):
    return json.dumps(content | {"model": content["model"] | entries})


MALFORMED = {
    "empty vocabulary": ("vocab.txt", lambda _: "", "it is empty"),
    "only blank lines": ("vocab.txt", lambda _: "\n\n", "it is empty"),
    "no mask": ("vocab.txt", lambda _: "\n".join(p for p in tiny_files.VOCAB if p != "[MASK]"), r"no \[MASK\]"),
    "not text": ("vocab.txt", lambda _: b"\xff\xfe\x00", "byte order mark"),
    "truncated model": ("spiece.model", lambda _: tiny_files.sentencepiece_file()[:-9], "spiece.model"),
    "model without mask": (
        "spiece.model",
        lambda _: tiny_files.sentencepiece_file([p for p in tiny_files.PIECES if p[0] != "[MASK]"]),
        r"no \[MASK\]",
    ),
    "mask is a word": (
        "spiece.model",
        lambda _: tiny_files.sentencepiece_file(
            [p if p[0] != "[MASK]" else ("[MASK]", 0.0, 1) for p in tiny_files.PIECES]
        ),
        r"\[MASK\] is an ordinary piece",
    ),
    "invalid JSON": ("tokenizer.json", lambda content: json.dumps(content)[:-1], "invalid JSON"),
    "another JSON": ("tokenizer.json", lambda _: "[1]", "it holds a list, expected an object"),
    "no model": ("tokenizer.json", lambda _: "{}", 'no "model"'),
    "byte pairs": ("tokenizer.json", lambda c: change_model(c, type="BPE", merges=[]), "is a BPE; expected one of"),
    "gap in ids": (
        "tokenizer.json",
        lambda c: change_model(c, vocab=c["model"]["vocab"] | {"sat": 99}),
        "id 7 is missing",
    ),
    "not a pipeline": (
        "tokenizer.json",
        lambda c: json.dumps(c | {"decoder": {"type": "?"}}),
        "is not a usable tokenizer",
    ),
    "bad option": (
        "tokenizer_config.json",
        lambda _: '{"do_lower_case": "no"}',
        "do_lower_case='no'; expected true or false",
    ),
    "bad config": ("tokenizer_config.json", lambda _: "{", "tokenizer_config.json: invalid JSON"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_one_error_that_names_the_file(case, tmp_path):
    name, make, message = MALFORMED[case]
    load_tokenizer(tiny_files.write_vocab(tmp_path)).save(tmp_path)
    made = make(json.loads((tmp_path / "tokenizer.json").read_text()))
    for settings in ("tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / settings).unlink()
    (tmp_path / name).write_bytes(made if isinstance(made, bytes) else made.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(tmp_path / ("vocab.txt" if name == "tokenizer_config.json" else name))
    assert name in str(caught.value)


def test_duplicate_unigram_pieces_in_a_pipeline_are_refused(tmp_path):
    load_tokenizer(tiny_files.write_sentencepiece(tmp_path)).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["vocab"].append(["▁cat", -1.0])
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"tokenizer.json is not a usable tokenizer: 1 pieces occur more than once, for example '▁cat'"
    ):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_case_of_another_normalizer_cannot_be_set(tmp_path):
    load_tokenizer(tiny_files.write_sentencepiece(tmp_path)).save(tmp_path)
    with pytest.raises(ValueError, match="can only be set for a BertNormalizer, and the file has another one"):
        load_tokenizer(tmp_path / "tokenizer.json", lowercase=False)


def test_a_file_above_the_size_limit_is_not_read(tmp_path):
    with (tmp_path / "vocab.txt").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no space
    with pytest.raises(ValueError, match="has 1099511627776 bytes, expected at most"):
        load_tokenizer(tmp_path)
