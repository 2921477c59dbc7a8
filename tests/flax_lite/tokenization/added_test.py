"""Added tokens, as listed in each of the three files."""

import json

import pytest

from flax_lite.tokenization import load_tokenizer
from tests.flax_lite.tokenization import tiny_files

KINDS = {"unigram": tiny_files.write_sentencepiece, "wordpiece": tiny_files.write_vocab}
SIZES = {"unigram": len(tiny_files.PIECES), "wordpiece": len(tiny_files.VOCAB)}
FILES = ("tokenizer_config.json", "added_tokens.json", "tokenizer.json")


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    """A vocabulary file of either kind, alone in a directory."""
    directory = tmp_path / "source"
    directory.mkdir()
    return KINDS[request.param](directory)


def size_of(source):
    return SIZES["unigram" if source.suffix == ".model" else "wordpiece"]


def write(path, content):
    path.write_text(json.dumps(content))


def add(source, file, *tokens, first=None):
    """Adds tokens through one of the files; those in angle brackets are special."""
    first = size_of(source) if first is None else first
    specials = [token for token in tokens if token.startswith("<")]
    entries = [
        {"content": token, "special": token in specials, "normalized": token not in specials}
        | dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
        for token in tokens
    ]
    if file == "tokenizer_config.json":
        decoder = {str(first + index): entry for index, entry in enumerate(entries)}
        write(source.parent / file, {"added_tokens_decoder": decoder})
    elif file == "added_tokens.json":
        write(source.parent / file, {token: first + index for index, token in enumerate(tokens)})
        write(source.parent / "special_tokens_map.json", {"additional_special_tokens": specials})
    else:
        load_tokenizer(source).save(source.parent)
        (source.parent / "tokenizer_config.json").unlink()  # its class would read only tokenizer.json
        content = json.loads((source.parent / file).read_text())
        content["added_tokens"] += [entry | {"id": first + index} for index, entry in enumerate(entries)]
        write(source.parent / file, content)
    return load_tokenizer(source)


@pytest.mark.parametrize("file", FILES)
def test_added_tokens_have_the_ids_after_the_vocabulary(source, file, tmp_path):
    plain = load_tokenizer(source)
    assert plain.vocab_size == size_of(source)
    tokenizer = add(source, file, "newword", "<e1>")
    size = size_of(source)
    the, cat = plain.encode(["the"])[0], plain.encode(["cat"])[0]
    assert tokenizer.encode(["the newword cat", "the<e1>cat", "NewWord <E1>"]) == [
        [*the, size, *cat],
        [*the, size + 1, *cat],
        [size, *tokenizer.encode(["<E1>"])[0]],
    ]
    # ALBERT's slow class lower-cases before it looks for special tokens; BERT's fast class does not.
    assert (tokenizer.encode(["<E1>"]) == [[size + 1]]) == (source.suffix == ".model")
    assert tokenizer.pieces[size:] == ["newword", "<e1>"]
    assert tokenizer.starts_word[size:].all()
    assert tokenizer.decode([*the, size, size + 1]).split("the")[1].strip() == "newword"
    assert tokenizer.special_ids == plain.special_ids
    assert load_tokenizer(source.parent).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("file", FILES)
def test_added_tokens_survive_saving(source, file, tmp_path):
    tokenizer = add(source, file, "newword", "<e1>")
    tokenizer.save(tmp_path / "saved")
    for name in ("", "tokenizer.json", source.name):
        assert load_tokenizer(tmp_path / "saved" / name).fingerprint == tokenizer.fingerprint
    assert (tmp_path / "saved" / source.name).read_bytes() == source.read_bytes()
    size = size_of(source)
    assert json.loads((tmp_path / "saved" / "added_tokens.json").read_text()) == {"newword": size, "<e1>": size + 1}


def test_sentencepiece_with_added_tokens_keeps_its_rules(tmp_path):
    """A tokenizer.json with the same vocabulary is not preferred because it has added tokens."""
    source = tiny_files.write_sentencepiece(tmp_path)
    ids = load_tokenizer(source).encode(["1,050"])[0]
    tokenizer = add(source, "tokenizer.json", "newword")
    write(tmp_path / "tokenizer_config.json", {"tokenizer_class": "AlbertTokenizer"})
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    write(tmp_path / "tokenizer.json", content)
    assert load_tokenizer(tmp_path / "tokenizer.json").encode(["1,050"])[0] != ids
    assert load_tokenizer(tmp_path).encode(["1,050 newword"])[0] == [*ids, tokenizer.vocab_size - 1]


def test_the_newest_file_is_used(tmp_path):
    source = tiny_files.write_vocab(tmp_path)
    add(source, "added_tokens.json", "older")
    assert add(source, "tokenizer_config.json", "newer").pieces[-1] == "newer"
    # transformers also lists every special token there, with its id in the vocabulary
    size = len(tiny_files.VOCAB)
    decoder = {"0": {"content": "[PAD]", "special": True}, str(size): {"content": "newest"}}
    write(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": decoder})
    assert load_tokenizer(tmp_path).pieces[size:] == ["newest"]


def test_a_special_token_may_be_an_added_token(tmp_path):
    source = tiny_files.write_vocab(tmp_path, [piece for piece in tiny_files.VOCAB if piece != "[MASK]"])
    size = len(tiny_files.VOCAB) - 1
    tokenizer = add(source, "added_tokens.json", "newword", "[MASK]", first=size)
    assert tokenizer.mask_id == size + 1
    assert tokenizer.encode(["the [MASK]"]) == [[tokenizer.pieces.index("the"), size + 1]]
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved" / "vocab.txt").fingerprint == tokenizer.fingerprint


def test_flags_of_added_tokens_are_kept(tmp_path):
    source = tiny_files.write_vocab(tmp_path)
    size = len(tiny_files.VOCAB)
    entry = {"content": "a", "single_word": True, "normalized": False}
    write(tmp_path / "tokenizer_config.json", {"added_tokens_decoder": {str(size): entry | {"content": "cata"}}})
    assert load_tokenizer(source).encode(["cata CATA scata"])[0].count(size) == 1


def test_special_tokens_map_names_special_tokens(tmp_path):
    """Older versions of transformers wrote this file; the default special tokens are in the vocabulary as well."""
    path = tiny_files.write_vocab(tmp_path, ["<blank>", *tiny_files.VOCAB])
    write(tmp_path / "special_tokens_map.json", {"pad_token": {"content": "<blank>"}, "sep_token": "the"})
    tokenizer = load_tokenizer(path)
    assert (tokenizer.pad_id, tokenizer.sep_id) == (0, 1 + tiny_files.VOCAB.index("the"))
    write(tmp_path / "tokenizer_config.json", {"pad_token": "[PAD]", "cls_token": "cat"})
    assert load_tokenizer(path).special_ids[:3] == (0, 2, 1 + tiny_files.VOCAB.index("cat"))
    write(tmp_path / "tokenizer_config.json", {"pad_token": "[PAD]", "added_tokens_decoder": {}})
    assert load_tokenizer(path).special_ids == (1, 2, 3, 4, 5)  # newer versions ignore special_tokens_map.json


SIZE = len(tiny_files.VOCAB)
MALFORMED = {
    "gap": (
        "added_tokens.json",
        {"x": SIZE, "y": SIZE + 2},
        f"'y' is listed with id {SIZE + 2}, but has id {SIZE + 1}",
    ),
    "after a gap": ("added_tokens.json", {"x": SIZE + 1}, f"consecutive ids starting at {SIZE}"),
    "a piece": (
        "added_tokens.json",
        {"cat": SIZE},
        f"'cat' is listed with id {SIZE}, but has id 6",
    ),
    "text as id": ("added_tokens.json", {"x": "1"}, "'1' is not the id of an added token"),
    "boolean as id": ("added_tokens.json", {"x": True}, "True is not the id"),
    "empty": ("added_tokens.json", {"": SIZE}, "is not an added token"),
    "list": ("added_tokens.json", [], "added_tokens.json: invalid JSON: it holds a list"),
    "decoder is a list": ("tokenizer_config.json", {"added_tokens_decoder": []}, "is not a mapping from ids"),
    "decoder without ids": ("tokenizer_config.json", {"added_tokens_decoder": {"a": {}}}, "is not a mapping from ids"),
    "text for a token": ("tokenizer_config.json", {"added_tokens_decoder": {"1": "a"}}, "'a' is not an added token"),
    "flag": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {"1": {"content": "a", "lstrip": 1}}},
        "is not an added token",
    ),
    "twice": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {str(SIZE + n): {"content": "a b"} for n in range(2)}},
        f"'a b' is listed with id {SIZE + 1}, but has id {SIZE}",
    ),
    "other class": (
        "tokenizer_config.json",
        {"tokenizer_class": "BertJapaneseTokenizer"},
        "which may split text into words differently; expected one of",
    ),
    "no words": ("tokenizer_config.json", {"do_basic_tokenize": False}, "do_basic_tokenize=False: text is not split"),
    "special": ("special_tokens_map.json", [1], "special_tokens_map.json: invalid JSON: it holds a list"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_beside_a_vocabulary_are_one_error(case, tmp_path):
    name, content, message = MALFORMED[case]
    source = tiny_files.write_vocab(tmp_path)
    write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(source)
    assert "vocab.txt is not a usable tokenizer" in str(caught.value)
