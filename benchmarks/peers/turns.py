"""Rounds of turns: who begins, and ratios round by round."""

from collections.abc import Sequence

from benchmarks.spread import Spread, spread


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> Spread | None:
    """Theirs over ours in each round that both took: what disturbs a round disturbs both. Above 1, ours is faster."""
    return spread([one / other for one, other in zip(theirs, ours, strict=False)])


def order(names: Sequence[str], round_number: int) -> list[str]:
    """Who goes first changes from round to round."""
    start = round_number % max(len(names), 1)
    return [*names[start:], *names[:start]]
