"""Floating-point operations of a model, counted from its configuration: matrix products, two for a multiply-add."""

from flax_lite.architecture.config import EncoderConfig


def encoder_flops(config: EncoderConfig, length: int) -> int:
    """Forward pass of the encoder, per token of a row of `length` tokens; a shared layer counts as often as it runs.

    A layer has 4 D^2 + 2 D F weights in its products, and attention takes 2 T D more multiply-adds; the embedding
    tables are looked up.
    """
    width = config.hidden_size
    layer = 4 * width**2 + 2 * width * config.intermediate_size + 2 * length * width
    projection = config.embedding_size * width if config.has_embedding_projection else 0
    return 2 * (len(config.layer_sequence()) * layer + projection)


def word_head_flops(config: EncoderConfig) -> int:
    """Forward pass of the masked-LM head, for each position that it predicts: D E + E V multiply-adds."""
    return 2 * config.embedding_size * (config.hidden_size + config.vocab_size)


def distillation_cost(student: EncoderConfig, teacher: EncoderConfig, length: int, masked: float) -> float:
    """FLOPs of a step of DistilBERT's triple loss over those of a masked-LM step of the same student without a teacher.

    A gradient costs three forward passes. The logits of every token, student's and teacher's, are made a second time in
    the backward pass (`flax_lite.training.token_losses.sum_in_chunks`).

    Args:
        student: its architecture.
        teacher: its architecture.
        length: T, tokens of a row.
        masked: masked slots per token, P / T.
    """
    alone = 3 * encoder_flops(student, length) + 3 * masked * word_head_flops(student)
    taught = encoder_flops(teacher, length) + 4 * word_head_flops(student) + 2 * word_head_flops(teacher)
    return (alone + taught) / alone
