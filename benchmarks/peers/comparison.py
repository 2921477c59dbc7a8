"""Whether two implementations computed the same, and by how much they differ.

Everything is float32. On random weights of base size, at 8 x 128, correct implementations differed by at most 5e-6 in
the last hidden states, 4e-6 in a loss near 10, and 3e-7 of a gradient tensor's largest value (two CPU cores; jax
0.10.2, transformers 4.57.6, torch 2.13.0, keras-hub 0.32.0). A dropout left on, a missing mask or another GELU moves
hidden states by 1e-3 and more; another epsilon in Adam moved the loss after one update by 1e-3. So 1e-4 lies well
between the two, for hidden states and losses absolute, for a gradient relative to the largest value of its own tensor.
Tensors whose true gradient is zero (the key biases) hold rounding noise: what is below a millionth of the largest
gradient of all counts as equal.
"""

from collections.abc import Mapping

import numpy as np

_TOLERANCE = 1e-4
_COMPARED = ("hidden", "vectors", "loss", "loss_after")
_NOISE = 1e-6
_GRADIENT = "gradient/"

Arrays = Mapping[str, np.ndarray]


def differences(ours: Arrays, theirs: Arrays, attention_mask: np.ndarray) -> dict[str, float]:
    """How far two results are apart, in tolerances: 1 is just allowed.

    Hidden states are compared where there is a token: what stands at padding means nothing.

    Raises:
        ValueError: if the results are not of the same things.
    """
    if ours.keys() != theirs.keys():
        only = [", ".join(sorted(a.keys() - b.keys())[:5]) or "nothing" for a, b in ((ours, theirs), (theirs, ours))]
        raise ValueError(f"the results are not of the same things: only ours has {only[0]}; only theirs {only[1]}")
    found = {
        name: _distance(ours[name], theirs[name], attention_mask if name == "hidden" else None) / _TOLERANCE
        for name in _COMPARED
        if name in ours
    }
    gradients = [name for name in ours if name.startswith(_GRADIENT)]
    if gradients:
        floor = _NOISE / _TOLERANCE * max(float(np.max(np.abs(ours[name]))) for name in gradients)
        found["gradients"] = max(_relative(ours[name], theirs[name], floor) for name in gradients) / _TOLERANCE
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
