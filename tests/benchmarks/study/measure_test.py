"""Known sizes, and checks that notice work which was not done."""

import numpy as np
import pytest

from benchmarks.study import measure
from benchmarks.study.measure import Forward, Scorer, Settings, Trainer, size
from benchmarks.study.models import MODELS

_TINY = Settings(lengths=(8, 16), batch=4, train_length=16, repeats=2, pairs=6, smoke=True)


@pytest.mark.parametrize(
    ("row", "count"),
    [
        # BERT, DistilBERT and MiniLM: transformers and keras-hub; ALBERT: its Flax module's shapes.
        ("bert-base", 109_482_240),
        ("distilbert", 66_362_880),
        ("albert-base", 11_683_584),
        ("bert-small", 28_763_648),
        ("minilm-l6", 22_713_216),
        ("bert-large", 335_141_888),
        ("albert-large", 17_683_968),
        ("albert-xxlarge", 222_595_584),
        ("distilalbert", 11_683_584 + 522 * 128),  # ALBERT-base's with BERT's vocabulary
    ],
)
def test_size_counts_known_parameters(row, count):
    found = size(MODELS[row].config(), Settings())
    assert found["parameters"] == count
    assert sum(found["parts"].values()) - found["parts"]["masked_lm_head"] == count
    assert found["flops_per_token"]["128"] < found["flops_per_token"]["512"]


@pytest.fixture(scope="module")
def forward():
    return Forward(MODELS["distilbert"].config(smoke=True))


@pytest.fixture
def batches():
    return measure._rows(MODELS["distilbert"].config(smoke=True), 4, 16)


def test_batches_have_padding_and_differ_in_their_words(batches):
    one, other = batches
    lengths = one["attention_mask"].sum(1)
    assert lengths.max() == 16
    assert lengths.min() == 4
    for batch in batches:
        assert np.all((batch["input_ids"] > 0) == (batch["attention_mask"] > 0))
    assert not np.array_equal(one["input_ids"], other["input_ids"])


def test_forward_refuses_work_not_done(forward, batches, monkeypatch):
    assert len(forward.seconds(batches, 4)) == 4
    with pytest.raises(RuntimeError, match="other words"):
        forward.seconds([batches[0], batches[0]], 2)
    first = forward(batches[0])
    run = forward._run
    calls = iter(range(10))
    # Correct the first time for both batches, then always the states of the first.
    stale = lambda model, *inputs: run(model, *inputs) if next(calls) < 2 else first  # noqa: E731
    monkeypatch.setattr(forward, "_run", stale)
    with pytest.raises(RuntimeError, match="results differ"):
        forward.seconds(batches, 4)
    monkeypatch.setattr(forward, "_run", lambda model, *inputs: run(model, *inputs) * np.nan)
    with pytest.raises(RuntimeError, match="finite"):
        forward.check_padding({name: array[-1:, :4] for name, array in batches[0].items()}, 16)


def test_check_padding_notices_an_ignored_mask(forward, batches, monkeypatch):
    row = {name: array[-1:, :4] for name, array in batches[0].items()}
    forward.check_padding(row, 16)
    run = forward._run
    monkeypatch.setattr(forward, "_run", lambda model, ids, mask, types: run(model, ids, np.ones_like(mask), types))
    with pytest.raises(RuntimeError, match="padded to 16"):
        forward.check_padding(row, 16)


def test_trainer_refuses_steps_that_were_not_taken():
    trainer = Trainer(MODELS["albert-base"].config(smoke=True), _TINY)
    trainer.step()
    trainer.step()
    trainer.check()
    trainer.losses.append(trainer.losses[-1])
    with pytest.raises(RuntimeError, match="after 3 steps the step is 2"):
        trainer.check()


def test_sts_pass_refuses_equal_scores(monkeypatch):
    config = MODELS["distilbert"].config(smoke=True)
    found = measure.sts_pass(config, _TINY, "bert")
    assert (found["pairs"], found["text"], len(found["warm"])) == (6, "random ids", 2)
    monkeypatch.setattr(Scorer, "__call__", lambda self, rows: np.ones(6, np.float32))
    with pytest.raises(RuntimeError, match="same score"):
        measure.sts_pass(config, _TINY, "bert")


def test_memory_counts_a_temporary_buffer():
    from benchmarks.study.memory import peak_memory

    bytes_held = 64 * 2**20
    found = peak_memory(lambda: np.ones(bytes_held // 8).sum())
    if found is None:
        pytest.skip("this system does not report the peak of the resident set")
    assert found >= 0.9 * bytes_held
