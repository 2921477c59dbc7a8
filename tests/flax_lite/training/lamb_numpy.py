"""ALBERT's optimizer again, in float64 NumPy, as its description reads: one variable after another, no stacked layers.

Written without the library: no line of flax_lite/training/optim.py is used here.
"""

import numpy as np

Variables = dict[str, np.ndarray]


class Lamb:
    """Google's LAMB with its slots. A variable's name decides whether it is decayed and adapted."""

    excluded = ("LayerNorm", "layer_norm", "bias")

    def __init__(self, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6, weight_decay: float = 0.01) -> None:
        self.b1, self.b2, self.eps, self.weight_decay = b1, b2, eps, weight_decay
        self.slots: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def apply(self, variables: Variables, gradients: Variables, learning_rate: float) -> Variables:
        """The variables after one step."""
        return {name: self._apply_one(name, w, gradients[name], learning_rate) for name, w in variables.items()}

    def _apply_one(self, name: str, w: np.ndarray, g: np.ndarray, learning_rate: float) -> np.ndarray:
        m, v = self.slots.get(name, (np.zeros_like(w), np.zeros_like(w)))
        m = m * self.b1 + g * (1 - self.b1)
        v = v * self.b2 + np.square(g) * (1 - self.b2)
        self.slots[name] = (m, v)
        step = m / (np.sqrt(v) + self.eps)
        if any(word in name for word in self.excluded):
            return w - learning_rate * step
        step = step + self.weight_decay * w
        w_norm, step_norm = np.linalg.norm(w.ravel()), np.linalg.norm(step.ravel())
        ratio = w_norm / step_norm if w_norm > 0 and step_norm > 0 else 1.0
        return w - ratio * learning_rate * step


def clip_by_global_norm(gradients: Variables, clip_norm: float) -> Variables:
    """Scales all gradients so that their joint norm is at most `clip_norm`."""
    norm = np.sqrt(sum(float(np.sum(np.square(g))) for g in gradients.values()))
    return {name: g * clip_norm / max(norm, clip_norm) for name, g in gradients.items()}


def learning_rate(step: int, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Linear decay over all steps; while warming up, a straight line from zero instead."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (1 - min(step, total_steps) / total_steps)
