"""Whether two implementations computed the same, and by how much they differ.

Everything is float32. On random weights of base size two correct implementations differ by some 1e-5 in the last hidden
states, most of it from Hugging Face Flax's fast variance, and by about 1e-6 in a loss near 10; a dropout left on, a
missing mask or another GELU moves hidden states by 1e-3 and more. So: 1e-4 for hidden states and losses. A gradient is
compared with the largest value of its own tensor; tensors whose true gradient is zero (the key biases) hold rounding
noise, so what is below a millionth of the largest gradient of all counts as equal. After one update the losses may
differ by 1e-3: Adam's first step turns the sign of such noise into a whole step.
"""

from collections.abc import Mapping

import numpy as np

_ABSOLUTE = {"hidden": 1e-4, "vectors": 1e-4, "loss": 1e-4, "loss_after": 1e-3}
GRADIENT_TOLERANCE = 1e-3
_NOISE = 1e-6
_GRADIENT = "gradient/"

Arrays = Mapping[str, np.ndarray]


def differences(ours: Arrays, theirs: Arrays, attention_mask: np.ndarray) -> dict[str, float]:
    """How far two results are apart, each by its own tolerance: 1 is just allowed.

    Hidden states are compared where there is a token: what stands at padding means nothing.

    Raises:
        ValueError: if the results are not of the same things.
    """
    if ours.keys() != theirs.keys():
        only = [", ".join(sorted(a.keys() - b.keys())[:5]) or "nothing" for a, b in ((ours, theirs), (theirs, ours))]
        raise ValueError(f"the results are not of the same things: only ours has {only[0]}; only theirs {only[1]}")
    found = {
        name: _distance(ours[name], theirs[name], attention_mask if name == "hidden" else None) / tolerance
        for name, tolerance in _ABSOLUTE.items()
        if name in ours
    }
    gradients = [name for name in ours if name.startswith(_GRADIENT)]
    if gradients:
        floor = _NOISE / GRADIENT_TOLERANCE * max(float(np.max(np.abs(ours[name]))) for name in gradients)
        found["gradients"] = max(_relative(ours[name], theirs[name], floor) for name in gradients) / GRADIENT_TOLERANCE
    if not found:
        raise ValueError("there is nothing to compare")
    return found


def _distance(ours: np.ndarray, theirs: np.ndarray, mask: np.ndarray | None) -> float:
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: {ours.shape} is ours, {theirs.shape} theirs")
    apart = np.abs(ours - theirs)
    # Not a number is as far apart as anything can be.
    return float(np.max(np.nan_to_num(apart if mask is None else apart[mask > 0], nan=np.inf)))


def _relative(ours: np.ndarray, theirs: np.ndarray, floor: float) -> float:
    return _distance(ours, theirs, None) / max(float(np.max(np.abs(ours))), floor)
