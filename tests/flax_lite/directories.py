"""Random model directories: a family, the files of a tokenizer, and settings that occur in such files.

A layout writes the files like a class of transformers or an older tool; each setting then changes one of the files.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.flax_lite.tokenization import tiny_files

FAMILIES = ("albert", "bert", "distilbert")
VOCAB = [
    *["[PAD]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    *["<S>", "<T>", "!", "(", ")", ",", "-", ".", ":", "?", "'", "[", "]", "<", ">", "/"],
    *"abcdefghijklmnopqrstuvwxyz0123456789",
    *[f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"],
    *["the", "cat", "sat", "##ted", "cafe", "café", "The", "Cat", "Caf", "##é", "É", "un", "##want", "##ed"],
    *["今", "天", "好", "##天", "й", "и", "ß", "ss", "ﬁ"],
]
# Without capitals, by which a vocabulary without settings is recognized as cased.
LOWER = [piece for piece in VOCAB if piece == piece.lower() or piece[0] in "[<"]
TEXTS = [
    "The Cat sat.",
    "un-wanted café, CAFÉ; cafe\u0301 É",
    "the [MASK] sat [SEP] on [mask] [unused1] and [Unused1]x",
    "<e1>the cat</e1> <E1> NewWord newword Two Words",
    "今天好 the今天",
    "1,050 21,050 (a)b-c",
    "a\tb\u00a0c\u200bd\ufffde\u0000f  g ",
    "й и ß ss ﬁ ``x'' <S> <T>",
    "the cat sat " * 12,
    "x" * 120,
    "",
]
PAIRS = [(0, 5), (8, 0), (0, 8), (8, 8), (3, 4), (10, 0)]


@dataclasses.dataclass
class Directory:
    """A random directory.

    Attributes:
        path: path of the directory.
        family: family of its config.json.
        layout: how its tokenizer was written.
        settings: settings that were changed afterwards.
    """

    path: Path
    family: str
    layout: str
    settings: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.family}, {self.layout}, {', '.join(self.settings) or 'no settings'}"


def draw(
    random: np.random.Generator, path: Path, transformers: Any, sizes: Mapping[str, Mapping[str, Any]]
) -> Directory:
    """Writes a random directory with config.json and the files of a tokenizer, without weights.

    Args:
        random: the random generator.
        path: path of the new directory.
        transformers: the package, whose classes write some of the layouts.
        sizes: sizes of a model of each family, by their keys in config.json.
    """
    path.mkdir()
    family = str(random.choice(FAMILIES))
    config = {"model_type": family, **sizes[family]}
    (path / "config.json").write_text(json.dumps(config))
    layouts = sorted(name for name, (families, _) in _LAYOUTS.items() if family in families)
    layout = str(random.choice(layouts))
    _LAYOUTS[layout][1](path, transformers)
    names = sorted(_SETTINGS)
    weights = np.array([_RARE if name in _REFUSED else 1.0 for name in names])
    size = int(random.integers(0, 5))
    chosen = [str(name) for name in random.choice(names, size=size, replace=False, p=weights / weights.sum())]
    done = [name for name in chosen if _change(path, *_SETTINGS[name])]
    return Directory(path, family, layout, tuple(done))


def _vocab(path: Path, pieces: list[str] = VOCAB) -> None:
    tiny_files.write_vocab(path, pieces)


def _saved(name: str, *, added: bool = False, **options: Any) -> Callable[[Path, Any], None]:
    """Returns a function that writes a tokenizer with the save_pretrained of a class."""

    def write(path: Path, transformers: Any) -> None:
        file = tiny_files.write_sentencepiece(path) if "Albert" in name else tiny_files.write_vocab(path, VOCAB)
        made = getattr(transformers, name).from_pretrained(path, **options)
        file.unlink()
        if added:
            # A fast class loses the lower-cased form of added tokens in capitals when its settings change later.
            made.add_tokens(["newword", "Two Words" if not made.is_fast else "two words"])
            made.add_special_tokens({"additional_special_tokens": ["<e1>", "</e1>", "[unused1]"]})
        made.save_pretrained(path)

    return write


def _legacy(path: Path, transformers: Any) -> None:
    """Writes files as of 2020: vocabulary, special tokens and added tokens in separate files."""
    _vocab(path, LOWER)
    _edit(path / "special_tokens_map.json", {"additional_special_tokens": ["[unused1]", "<e1>"], "pad_token": "[PAD]"})
    _edit(path / "added_tokens.json", {"<e1>": len(LOWER), "newword": len(LOWER) + 1})


def _pipeline(kind: str) -> Callable[[Path, Any], None]:
    def write(path: Path, transformers: Any) -> None:
        from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

        if kind == "wordpiece":
            pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
            made = Tokenizer(models.WordPiece({piece: id_ for id_, piece in enumerate(VOCAB)}, unk_token="[UNK]"))
            made.normalizer = normalizers.BertNormalizer(lowercase=False)
            made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            cls, sep = ((piece, VOCAB.index(piece)) for piece in ("[CLS]", "[SEP]"))
            made.post_processor = processors.BertProcessing(sep, cls)
            made.add_special_tokens(pieces)
            names = dict(zip(("pad", "unk", "cls", "sep", "mask"), pieces, strict=True))
        else:
            specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
            words = [(piece, score) for piece, score, _ in tiny_files.PIECES[5:]]
            made = Tokenizer(models.Unigram([*specials, *words, ("<mask>", 0.0)], 3))
            made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
            made.pre_tokenizer = pre_tokenizers.Metaspace()
            made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
            made.post_processor = processors.TemplateProcessing(
                single="<s> $A </s>",
                pair="<s> $A </s> </s> $B </s>" if kind == "xlmr" else "<s>:0 $A:0 </s>:0 $B:1 </s>:1",
                special_tokens=[("<s>", 0), ("</s>", 2)],
            )
            names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
        made.save(str(path / "tokenizer.json"))
        _edit(
            path / "tokenizer_config.json",
            {f"{role}_token": piece for role, piece in names.items()} | {"tokenizer_class": "PreTrainedTokenizerFast"},
        )

    return write


_WORDPIECE = ("bert", "distilbert")
_LAYOUTS: Mapping[str, tuple[tuple[str, ...], Callable[[Path, Any], None]]] = {
    "vocab.txt": (_WORDPIECE, lambda path, _: _vocab(path, LOWER)),
    "vocab.txt, files of 2020": (_WORDPIECE, _legacy),
    "BertTokenizer": (("bert", "albert"), _saved("BertTokenizer")),
    "BertTokenizer, cased": (("bert",), _saved("BertTokenizer", do_lower_case=False)),
    "BertTokenizer, added": (("bert",), _saved("BertTokenizer", added=True)),
    "BertTokenizerFast": (("bert", "albert"), _saved("BertTokenizerFast")),
    "BertTokenizerFast, cased": (("bert",), _saved("BertTokenizerFast", do_lower_case=False, strip_accents=False)),
    "BertTokenizerFast, added": (("bert",), _saved("BertTokenizerFast", added=True)),
    "DistilBertTokenizer": (_WORDPIECE, _saved("DistilBertTokenizer")),
    "DistilBertTokenizerFast, added": (_WORDPIECE, _saved("DistilBertTokenizerFast", added=True)),
    "ElectraTokenizerFast": (("bert",), _saved("ElectraTokenizerFast")),
    "spiece.model": (("albert",), lambda path, _: tiny_files.write_sentencepiece(path) and None),
    "AlbertTokenizer": (("albert",), _saved("AlbertTokenizer")),
    "AlbertTokenizer, cased": (("albert",), _saved("AlbertTokenizer", do_lower_case=False, keep_accents=True)),
    "AlbertTokenizer, added": (("albert",), _saved("AlbertTokenizer", added=True)),
    "AlbertTokenizerFast": (("albert",), _saved("AlbertTokenizerFast")),
    "tokenizer.json, WordPiece": (FAMILIES, _pipeline("wordpiece")),
    "tokenizer.json, Unigram": (FAMILIES, _pipeline("unigram")),
    "tokenizer.json, XLM-R's rows": (FAMILIES, _pipeline("xlmr")),
}


def _change(path: Path, file: str, change: Mapping[str, Any] | Callable[[dict[str, Any]], None]) -> bool:
    """Changes a file; returns whether it existed or was created."""
    target = path / file
    if callable(change):
        if not target.is_file():
            return False
        content = json.loads(target.read_text())
        change(content)
        target.write_text(json.dumps(content))
        return True
    _edit(target, change)
    return True


def _edit(path: Path, values: Mapping[str, Any]) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def _cut_left(content: dict[str, Any]) -> None:
    content["truncation"] = {"max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Left"}


def _padded(direction: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        model, specials = content["model"], {token["content"]: token["id"] for token in content["added_tokens"]}
        pad = next((piece for piece in ("[PAD]", "<pad>") if piece in specials), None)
        if pad and model:
            content["padding"] = {
                "strategy": {"Fixed": 16},
                "direction": direction,
                "pad_to_multiple_of": None,
                "pad_id": specials[pad],
                "pad_type_id": 0,
                "pad_token": pad,
            }

    return change


def _roberta_rows(content: dict[str, Any]) -> None:
    specials = {token["content"]: token["id"] for token in content["added_tokens"]}
    sep, cls = (next(p for p in names if p in specials) for names in (("[SEP]", "</s>"), ("[CLS]", "<s>")))
    content["post_processor"] = {
        "type": "RobertaProcessing",
        "trim_offsets": True,
        "add_prefix_space": False,
        "sep": [sep, specials[sep]],
        "cls": [cls, specials[cls]],
    }


def _token(content: str, **flags: bool) -> dict[str, Any]:
    return dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized", "special"), False) | {
        "content": content,
        **flags,
    }


def _spaced_mask(content: dict[str, Any]) -> None:
    mask = content.get("mask_token", "[MASK]")
    if isinstance(mask, str):
        content["mask_token"] = _token(mask, lstrip=True, special=True) | {"__type": "AddedToken"}


_CONFIG, _SETTINGS_FILE, _MAP, _JSON = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
)
_SETTINGS: Mapping[str, tuple[str, Any]] = {
    "lower": (_SETTINGS_FILE, {"do_lower_case": True}),
    "cased": (_SETTINGS_FILE, {"do_lower_case": False}),
    "accents kept": (_SETTINGS_FILE, {"strip_accents": False, "keep_accents": True}),
    "accents stripped": (_SETTINGS_FILE, {"strip_accents": True}),
    "Chinese words": (_SETTINGS_FILE, {"tokenize_chinese_chars": False}),
    "short": (_SETTINGS_FILE, {"model_max_length": 16}),
    "endless": (_SETTINGS_FILE, {"model_max_length": 1000000000000000019884624838656}),
    "old limit": (_SETTINGS_FILE, {"max_len": 32}),
    "cut on the left": (_SETTINGS_FILE, {"truncation_side": "left"}),
    "padded on the right": (_SETTINGS_FILE, {"padding_side": "right"}),
    "padded on the left": (_SETTINGS_FILE, {"padding_side": "left"}),
    "no types": (_SETTINGS_FILE, {"model_input_names": ["input_ids", "attention_mask"]}),
    "all inputs": (_SETTINGS_FILE, {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}),
    "unused as special": (_SETTINGS_FILE, {"additional_special_tokens": ["[unused1]"]}),
    "unused as special, in the map": (_MAP, {"additional_special_tokens": ["[unused1]", "[unused2]"]}),
    "mask with spaces": (_SETTINGS_FILE, _spaced_mask),
    "bos and eos": (_SETTINGS_FILE, {"bos_token": "[CLS]", "eos_token": "[SEP]"}),
    "names and templates": (
        _SETTINGS_FILE,
        {"name_or_path": "a/b", "chat_template": "x", "special_tokens_map_file": "y"},
    ),
    "tidy decoding": (_SETTINGS_FILE, {"clean_up_tokenization_spaces": False}),
    "calls": (
        _SETTINGS_FILE,
        {"max_length": 8, "stride": 0, "truncation_strategy": "longest_first", "pad_token_type_id": 0},
    ),
    "own code": (_SETTINGS_FILE, {"auto_map": {"AutoTokenizer": ["tokens.Own", "tokens.OwnFast"]}}),
    "nobody's": (_SETTINGS_FILE, {"nobodys_key": 7}),
    "whole words": (_SETTINGS_FILE, {"never_split": ["un-wanted"]}),
    "no basic": (_SETTINGS_FILE, {"do_basic_tokenize": False}),
    "basic": (_SETTINGS_FILE, {"do_basic_tokenize": True, "never_split": None, "wordpieces_prefix": "##"}),
    "specials spelled": (_SETTINGS_FILE, {"split_special_tokens": True}),
    "spaces": (_SETTINGS_FILE, {"remove_space": True, "sp_model_kwargs": {}}),
    "extra special": (_SETTINGS_FILE, {"extra_special_tokens": {"entity_token": "[unused2]"}}),
    "Japanese": (_CONFIG, {"tokenizer_class": "BertJapaneseTokenizer"}),
    "class in the config": (_CONFIG, {"tokenizer_class": "BertTokenizer"}),
    "truncation of a file": (_JSON, _cut_left),
    "padding of a file": (_JSON, _padded("Right")),
    "left padding of a file": (_JSON, _padded("Left")),
    "RoBERTa's rows": (_JSON, _roberta_rows),
    "decoder": (_CONFIG, {"is_decoder": True}),
    "relative positions": (_CONFIG, {"position_embedding_type": "relative_key"}),
    "absolute positions": (_CONFIG, {"position_embedding_type": "absolute"}),
    "pruned": (_CONFIG, {"pruned_heads": {"0": [1]}}),
    "not pruned": (_CONFIG, {"pruned_heads": {}, "is_decoder": False, "add_cross_attention": False}),
    "tanh": (_CONFIG, {"hidden_act": "gelu_new", "activation": "gelu_new"}),
    "epsilon": (_CONFIG, {"layer_norm_eps": 1e-5}),
    "generation": (
        _CONFIG,
        {"use_cache": True, "max_length": 20, "do_sample": False, "output_past": True},
    ),
    "chunks": (_CONFIG, {"chunk_size_feed_forward": 0, "gradient_checkpointing": False}),
    "half": (_CONFIG, {"torch_dtype": "float16", "transformers_version": "4.2.1", "_name_or_path": "x"}),
    "labels": (_CONFIG, {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}),
    "problem": (_CONFIG, {"problem_type": "multi_label_classification"}),
    "someone's": (_CONFIG, {"someones_key": [1, 2]}),
    "pooler of the Chinese BERT": (
        _CONFIG,
        {"directionality": "bidi", "pooler_fc_size": 768},
    ),
}
# Refused settings are drawn less often, so that most directories can be compared.
_REFUSED = frozenset(
    (
        *("padded on the left", "left padding of a file", "no basic", "whole words", "specials spelled", "Japanese"),
        *("decoder", "relative positions", "pruned"),
    )
)
_RARE = 0.2
