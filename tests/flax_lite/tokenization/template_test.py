"""The template of a pipeline's rows, compared with the rows of the `tokenizers` library."""

import json

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from flax_lite.tokenization.template import template_of

SEP, CLS = ("[SEP]", 5), ("[CLS]", 4)
PROCESSORS = {
    "bert": processors.BertProcessing(SEP, CLS),
    "roberta": processors.RobertaProcessing(SEP, CLS),
    "xlm-r": processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]", [SEP, CLS]),
    "types": processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [SEP, CLS]),
    "second separator of type 1": processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP]:1 $B:1 [SEP]:1", [SEP, CLS]
    ),
    "no end": processors.TemplateProcessing("[CLS] $A", "[CLS] $A [SEP] $B:1", [SEP, CLS]),
    "several": processors.Sequence([processors.ByteLevel(), processors.BertProcessing(SEP, CLS)]),
}
NOT_SINGLE = {
    "no start": processors.TemplateProcessing("$A [SEP]", "$A [SEP] $B [SEP]", [SEP]),
    "two at the start": processors.TemplateProcessing("[CLS] [CLS] $A", "[CLS] $A $B", [CLS]),
    "type 1 alone": processors.TemplateProcessing("[CLS] $A:1 [SEP]", "[CLS] $A [SEP] $B [SEP]", [SEP, CLS]),
}
NOT_PAIRS = {
    "no pairs": processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[SEP, CLS]),
    "another start": processors.TemplateProcessing("[CLS] $A [SEP]", "[SEP] $A [SEP] $B", [SEP, CLS]),
    "second text first": processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $B [SEP] $A [SEP]", [SEP, CLS]),
    "type 2": processors.TemplateProcessing("[CLS]:0 $A:0 [SEP]:0", "[CLS] $A [SEP] $B:2 [SEP]:2", [SEP, CLS]),
    "first text of type 1": processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A:1 [SEP] $B [SEP]", [SEP, CLS]),
}


def pipeline(processor):
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1, "[UNK]": 2, "[CLS]": 4, "[SEP]": 5}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processor
    return backend


@pytest.mark.parametrize("name", PROCESSORS)
def test_rows_equal_those_of_the_library(name):
    backend = pipeline(PROCESSORS[name])
    template = template_of(backend)
    for first in ([], [0], [0, 1, 0]):
        text = " ".join("ab"[id_] for id_ in first)
        single = backend.encode(text)
        assert template.single(first) == single.ids
        assert len(single.ids) == len(first) + template.single_size
        for second in ([], [1], [1, 0]):
            pair = backend.encode(text, " ".join("ab"[id_] for id_ in second))
            ids = template.pair(first, second)
            assert ids == pair.ids
            assert len(ids) == len(first) + len(second) + template.pair_size
            ones = template.types_from(len(first), len(ids))
            assert [int(position >= ones) for position in range(len(ids))] == pair.type_ids


@pytest.mark.parametrize("name", NOT_SINGLE)
def test_rows_of_an_unsupported_form_are_refused(name):
    with pytest.raises(ValueError, match="its rows start with"):
        template_of(pipeline(NOT_SINGLE[name]))


@pytest.mark.parametrize("name", NOT_PAIRS)
def test_pairs_of_an_unsupported_form_are_refused_when_used(name):
    template = template_of(pipeline(NOT_PAIRS[name]))
    assert template.single([0]) == [4, 0, 5]
    with pytest.raises(ValueError, match="cannot join two texts: its"):
        _ = template.pair_size


def test_a_template_with_an_unlisted_special_token_is_an_error():
    """The library panics when it encodes a text; the constructor and `from_str` accept the file."""
    data = json.loads(pipeline(PROCESSORS["types"]).to_str())
    del data["post_processor"]["special_tokens"]["[SEP]"]
    with pytest.raises(ValueError, match="the tokenizers library panicked"):
        template_of(tokenizers.Tokenizer.from_str(json.dumps(data)))
