"""Lengths that padded batches may have: few, so that a step is compiled few times, and near enough to waste little."""

_SHORTEST = 16


def bucket_lengths(max_length: int) -> tuple[int, ...]:
    """Powers of two from 16 on below `max_length`, and `max_length` itself, ascending.

    Raises:
        ValueError: if `max_length` is below 1.
    """
    if max_length < 1:
        raise ValueError(f"rows need a length of at least 1, got {max_length}")
    lengths = []
    length = _SHORTEST
    while length < max_length:
        lengths.append(length)
        length *= 2
    return (*lengths, max_length)
