"""The encoders that are compared."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax_lite.architecture.config import EncoderConfig
from flax_lite.architecture.registry import preset

# For all rows: presets of ALBERT's second version have no dropout, so its cost would be missing there.
_DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
_SMOKE = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A row of the study.

    Attributes:
        title: its common name.
        preset: its size.
        tokenizer: the family whose tokenizer it uses.
        changes: fields that differ from the preset.
        is_compared: False if only claims about sizes need it; it is measured in full if --rows names it.
    """

    title: str
    preset: str
    tokenizer: str = "bert"
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_compared: bool = True

    def config(self, *, smoke: bool = False) -> EncoderConfig:
        """Returns the architecture; `smoke` makes it tiny."""
        tiny = _SMOKE if smoke else {}
        if smoke and self.preset.startswith("albert"):
            tiny = {**tiny, "embedding_size": 16}
        return preset(self.preset, **{**_DROPOUT, **self.changes, **tiny})


MODELS: Mapping[str, Model] = {
    "bert-base": Model("BERT-base", "bert-base-uncased"),
    "albert-base": Model("ALBERT-base", "albert-base-v2", "albert"),
    "distilbert": Model("DistilBERT", "distilbert-base-uncased"),
    # The student of configs/distilalbert.py: one layer shared over six, and BERT's vocabulary.
    "distilalbert": Model("distilALBERT", "albert-base-v2", "bert", {"num_hidden_layers": 6, "vocab_size": 30522}),
    "bert-small": Model("BERT-small", "bert-small"),
    # microsoft/unilm, minilm: L6-H384, as in configs/minilm_6.py.
    "minilm-l6": Model(
        "MiniLM-L6",
        "bert-base-uncased",
        "bert",
        {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "bert-large": Model("BERT-large", "bert-large-uncased", is_compared=False),
    "albert-large": Model("ALBERT-large", "albert-large-v2", "albert", is_compared=False),
    "albert-xxlarge": Model("ALBERT-xxlarge", "albert-xxlarge-v2", "albert", is_compared=False),
}
