"""What is measured: a model of given size, its training step and a batch of random ids."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from flax_lite.albert import AlbertConfig
from flax_lite.bert import BertConfig
from flax_lite.config import EncoderConfig
from flax_lite.distilbert import DistilBertConfig
from flax_lite.execution import Execution
from flax_lite.heads import MaskedLM
from flax_lite.optim import make_optimizer
from flax_lite.training import TrainState, init_state, make_train_step, masked_lm_objective

Step = Callable[[TrainState, Any], tuple[TrainState, Any]]
FAMILIES: Mapping[str, type[EncoderConfig]] = {
    "albert": AlbertConfig,
    "bert": BertConfig,
    "distilbert": DistilBertConfig,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes that all cases of one measurement share.

    Attributes:
        vocab_size: V.
        hidden_size: D; the feed-forward width is 4 D, as in all three papers, and a head is 64 wide.
        embedding_size: ALBERT's E.
        batch_size: B.
        sequence_length: T.
        max_predictions: P.
    """

    vocab_size: int = 8000
    hidden_size: int = 256
    embedding_size: int = 128
    batch_size: int = 8
    sequence_length: int = 128
    max_predictions: int = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One model under one execution.

    Attributes:
        family: one of FAMILIES.
        num_layers: depth.
        remat: what the backward pass recomputes.
        unroll: layers per iteration of the scan, 0 for all.
        sizes: everything else.
    """

    family: str
    num_layers: int
    remat: str = "none"
    unroll: int = 1
    sizes: Sizes = dataclasses.field(default_factory=Sizes)

    @property
    def config(self) -> EncoderConfig:
        """The architecture; dropout as its family has it, on."""
        sizes = self.sizes
        own: dict[str, Any] = {"embedding_size": sizes.embedding_size} if self.family == "albert" else {}
        return FAMILIES[self.family](
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.hidden_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=max(1, sizes.hidden_size // 64),
            intermediate_size=4 * sizes.hidden_size,
            max_position_embeddings=sizes.sequence_length,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
            **own,
        )

    def training_step(self) -> tuple[Step, Callable[[jax.Array], TrainState]]:
        """The masked-LM training step with LAMB, pure and not yet jitted, and what makes its first state from a key.

        Masked words alone: it is the one objective that all three families have.
        """
        execution = Execution(remat=self.remat, unroll=self.unroll)  # type: ignore[arg-type]
        create = functools.partial(MaskedLM, self.config, execution=execution)
        optimizer = make_optimizer("lamb", learning_rate=1e-3, total_steps=1000)
        structure = nnx.graphdef(nnx.eval_shape(lambda: create(rngs=nnx.Rngs(0))))
        step = make_train_step(structure, masked_lm_objective(), optimizer, seed=0)
        return step, lambda key: init_state(create(rngs=nnx.Rngs(key)), optimizer)

    def batch(self) -> dict[str, np.ndarray]:
        """A full batch of random ids; nothing measured here depends on their values."""
        sizes = self.sizes
        random = np.random.default_rng(0)
        rows, length, predictions = sizes.batch_size, sizes.sequence_length, sizes.max_predictions
        return {
            "input_ids": random.integers(1, sizes.vocab_size, (rows, length), np.int32),
            "attention_mask": np.ones((rows, length), np.int32),
            "token_type_ids": np.zeros((rows, length), np.int32),
            "masked_positions": np.tile(np.arange(predictions, dtype=np.int32), (rows, 1)),
            "masked_ids": random.integers(1, sizes.vocab_size, (rows, predictions), np.int32),
            "masked_weights": np.ones((rows, predictions), np.float32),
            "row_weights": np.ones(rows, np.float32),
        }
