def entropy_floor(*a): ...
def unigram_entropy(counts):
    import numpy as np

    values = np.array(list(counts.values()) if isinstance(counts, dict) else counts, float)
    p = values[values > 0] / values.sum()
    return float(-(p * np.log(p)).sum())
