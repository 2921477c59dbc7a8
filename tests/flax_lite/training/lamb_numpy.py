"""ALBERT's optimizers in float64 NumPy, as the references describe them: variable by variable, without stacked layers.

Independent of the library: nothing of flax_lite/training/optim.py is used here.
"""

import numpy as np

Variables = dict[str, np.ndarray]


class AdamW:
    """Google's AdamWeightDecayOptimizer with its slots; weight decay depends on a variable's name."""

    excluded = ("LayerNorm", "layer_norm", "bias")

    def __init__(
        self, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6, weight_decay: float = 0.01, corrected: bool = False
    ) -> None:
        self.b1, self.b2, self.eps, self.weight_decay, self.corrected = b1, b2, eps, weight_decay, corrected
        self.slots: dict[str, tuple[np.ndarray, np.ndarray, int]] = {}

    def apply(self, variables: Variables, gradients: Variables, learning_rate: float) -> Variables:
        """Returns the variables after one step."""
        return {name: self._apply_one(name, w, gradients[name], learning_rate) for name, w in variables.items()}

    def _apply_one(self, name: str, w: np.ndarray, g: np.ndarray, learning_rate: float) -> np.ndarray:
        m, v, t = self.slots.get(name, (np.zeros_like(w), np.zeros_like(w), 0))
        m = m * self.b1 + g * (1 - self.b1)
        v = v * self.b2 + np.square(g) * (1 - self.b2)
        self.slots[name] = (m, v, t + 1)
        if self.corrected:
            m, v = m / (1 - self.b1 ** (t + 1)), v / (1 - self.b2 ** (t + 1))
        step = m / (np.sqrt(v) + self.eps)
        if any(word in name for word in self.excluded):
            return w - learning_rate * step
        step = step + self.weight_decay * w
        return w - self.ratio(w, step) * learning_rate * step

    def ratio(self, w: np.ndarray, step: np.ndarray) -> float:
        """Returns the factor of the learning rate for a variable with weight decay."""
        return 1.0


class Lamb(AdamW):
    """Google's LAMB: variables with weight decay also have a trust ratio."""

    def ratio(self, w: np.ndarray, step: np.ndarray) -> float:
        """Returns the trust ratio."""
        w_norm, step_norm = np.linalg.norm(w.ravel()), np.linalg.norm(step.ravel())
        return float(w_norm / step_norm) if w_norm > 0 and step_norm > 0 else 1.0


def clip_by_global_norm(gradients: Variables, clip_norm: float) -> Variables:
    """Scales all gradients so that their joint norm is at most `clip_norm`."""
    norm = np.sqrt(sum(float(np.sum(np.square(g))) for g in gradients.values()))
    return {name: g * clip_norm / max(norm, clip_norm) for name, g in gradients.items()}


def learning_rate(step: int, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Linear decay counted from step 0, with a linear warm-up from zero."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * (1 - min(step, total_steps) / total_steps)


def learning_rate_from_peak(step: int, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Hugging Face's get_linear_schedule_with_warmup, line by line."""
    if step < warmup_steps:
        return peak * float(step) / float(max(1, warmup_steps))
    return peak * max(0.0, float(total_steps - step) / float(max(1, total_steps - warmup_steps)))
