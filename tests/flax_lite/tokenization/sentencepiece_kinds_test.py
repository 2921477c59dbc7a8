"""SentencePiece models of many training options: ids of the slow ALBERT tokenizer, or a refusal naming the option."""

import io

import pytest

from flax_lite.tokenization import load_tokenizer
from tests.flax_lite import reference

SPECIALS = ["[CLS]", "[SEP]", "[MASK]"]
LINES = [
    "The cats sat on the mats (and hats), which cost 1,050 francs in 1920.",
    "A foo-bar walks into the New York bar; naïve cafés serve him.",
    "Nobody knows why the wind blows, nor where it goes in the end.",
]
TEXTS = [*LINES, "the [MASK]  sat<pad> [sep] foo NewYork", "1,050 ﬁ ² Ǆ", "[CLS] a [SEP]"]

READ = {
    "specials as control symbols": {"control_symbols": SPECIALS},
    "specials as user-defined symbols": {"user_defined_symbols": SPECIALS},
    "words as user-defined symbols": {"user_defined_symbols": [*SPECIALS, "foo", "(", ")", "1,"]},
    "symbols that start with a space": {"control_symbols": SPECIALS, "user_defined_symbols": ["▁foo", "bar"]},
    "specials as begin and end": {
        "control_symbols": SPECIALS[2:],
        "bos_id": 2,
        "eos_id": 3,
        "bos_piece": SPECIALS[0],
        "eos_piece": SPECIALS[1],
    },
    "case folded": {"control_symbols": SPECIALS, "normalization_rule_name": "nmt_nfkc_cf"},
    "not normalized": {"control_symbols": SPECIALS, "normalization_rule_name": "identity"},
    "digits split": {"control_symbols": SPECIALS, "split_digits": True},
}
REFUSED = {
    "3 pieces contain a space": {"control_symbols": SPECIALS, "split_by_whitespace": False},
    "contain a space, for example 'New▁York'": {"control_symbols": SPECIALS, "user_defined_symbols": ["New▁York"]},
    "has type 6": {"control_symbols": SPECIALS, "byte_fallback": True, "vocab_size": 400},
    "remove_extra_whitespaces=False": {"control_symbols": SPECIALS, "remove_extra_whitespaces": False},
    "add_dummy_prefix=False": {"control_symbols": SPECIALS, "add_dummy_prefix": False},
    "treat_whitespace_as_suffix=True": {"control_symbols": SPECIALS, "treat_whitespace_as_suffix": True},
    "it is a BPE model": {"control_symbols": SPECIALS, "model_type": "bpe"},
    "no \\[MASK\\]": {"control_symbols": SPECIALS[:2]},
}


def write(directory, **options):
    """Trains a model on a few lines with the given options of SentencePiece."""
    sentencepiece = pytest.importorskip("sentencepiece")
    common = {"vocab_size": 90, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1}
    ids = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
    data = io.BytesIO()
    trainer = sentencepiece.SentencePieceTrainer
    trainer.train(sentence_iterator=iter(LINES * 5), model_writer=data, **{**common, **ids, **options})
    path = directory / "spiece.model"
    path.write_bytes(data.getvalue())
    return path


@pytest.mark.reference
@pytest.mark.parametrize("case", READ)
def test_ids_are_those_of_the_slow_tokenizer(case, tmp_path):
    path = write(tmp_path, **READ[case])
    slow, tokenizer = reference.transformers().AlbertTokenizer(str(path)), load_tokenizer(path)
    assert tokenizer.encode(TEXTS) == [slow(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert tokenizer.vocab_size == len(slow)


@pytest.mark.parametrize("message", REFUSED)
def test_models_that_segment_differently_are_refused(message, tmp_path):
    path = write(tmp_path, **REFUSED[message])
    with pytest.raises(ValueError, match=message):
        load_tokenizer(path)
