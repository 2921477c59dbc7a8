"""ALBERT, BERT and DistilBERT: each family's configuration, presets and weight table, registered here."""

from flax_lite.architecture.registry import register
from flax_lite.families import albert, bert, distilbert
from flax_lite.families.albert import AlbertConfig
from flax_lite.families.bert import BertConfig
from flax_lite.families.distilbert import DistilBertConfig

__all__ = ["AlbertConfig", "BertConfig", "DistilBertConfig"]

# ALBERT before BERT, because its config.json has BERT's keys too (`Family.distinctive_keys`: the first match counts).
for _family in (distilbert.FAMILY, albert.FAMILY, bert.FAMILY):
    register(_family)
