"""The difference between the results of two implementations.

Everything is float32. On random weights of base size, at 8 x 128, correct implementations differed by at most 5e-6 in
the last hidden states, 4e-6 in a loss near 10, and 3e-7 of a gradient tensor's largest value (two CPU cores; jax
0.10.2, transformers 4.57.6, torch 2.13.0, keras-hub 0.32.0). Dropout left on, a missing mask or another GELU changes
hidden states by 1e-3 and more; another epsilon in Adam changed the loss after one update by 1e-3. So the tolerance is
1e-4, absolute for hidden states and losses, and relative to the tensor's largest value for a gradient. Tensors whose
true gradient is zero (the key biases) contain rounding noise: values below a millionth of the largest gradient of all
tensors count as equal.
"""

from collections.abc import Mapping

import numpy as np

_TOLERANCE = 1e-4
_COMPARED = ("hidden", "vectors", "loss", "loss_after")
_NOISE = 1e-6
_GRADIENT = "gradient/"

Arrays = Mapping[str, np.ndarray]


def differences(reference: Arrays, rival: Arrays, attention_mask: np.ndarray) -> dict[str, float]:
    """Computes how far a rival's results differ from flax_lite's, in tolerances: 1 is just allowed.

    Hidden states are compared at tokens only; those at padding have no meaning.

    Raises:
        ValueError: if the results have different names or shapes.
    """
    if reference.keys() != rival.keys():
        pairs = (reference, rival), (rival, reference)
        only = [", ".join(sorted(one.keys() - other.keys())[:5]) or "nothing" for one, other in pairs]
        raise ValueError(f"the results have different names: only flax_lite has {only[0]}; only the rival {only[1]}")
    found = {
        name: _distance(reference[name], rival[name], attention_mask if name == "hidden" else None) / _TOLERANCE
        for name in _COMPARED
        if name in reference
    }
    gradients = [name for name in reference if name.startswith(_GRADIENT)]
    if gradients:
        floor = _NOISE / _TOLERANCE * max(float(np.max(np.abs(reference[name]))) for name in gradients)
        found["gradients"] = max(_relative(reference[name], rival[name], floor) for name in gradients) / _TOLERANCE
    if not found:
        raise ValueError("there is nothing to compare")
    return found


def _distance(reference: np.ndarray, rival: np.ndarray, mask: np.ndarray | None) -> float:
    if reference.shape != rival.shape:
        raise ValueError(f"shapes differ: {reference.shape} of flax_lite, {rival.shape} of the rival")
    difference = np.abs(reference - rival)
    # NaN counts as infinitely far.
    return float(np.max(np.nan_to_num(difference if mask is None else difference[mask > 0], nan=np.inf)))


def _relative(reference: np.ndarray, rival: np.ndarray, floor: float) -> float:
    return _distance(reference, rival, None) / max(float(np.max(np.abs(reference))), floor)
