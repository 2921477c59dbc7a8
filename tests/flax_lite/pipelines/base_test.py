"""What all pipelines share: fixed shapes, compiled once each; order, streams, threads, independence of the batch."""

import concurrent.futures
import itertools
import threading

import jax
import numpy as np
import pytest

import flax_lite as fl
from flax_lite.pipelines import TASKS, programs
from tests.flax_lite import tiny
from tests.flax_lite.pipelines import cases

# Rows of every length from 2 to 40.
TEXTS = [" ".join(["cat", "the", "sat", "a", "unwanted"][place % 5] for place in range(size)) for size in range(30)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return cases.saved(tmp_path_factory.mktemp("classifier"), "text-classification", labels=("x", "y", "z"))


def pipeline(directory, **options):
    return fl.pipeline("text-classification", directory, **{"top_k": None, **options})


@pytest.fixture
def compilations(monkeypatch):
    """How often anything was lowered."""
    count = []

    class Jit:
        def __call__(self, function):
            jitted = tiny.jit(function)

            class Counted:
                def lower(self, *arguments):
                    count.append(arguments[1]["input_ids"].shape)
                    return jitted.lower(*arguments)

            return Counted()

    monkeypatch.setattr(programs.jax, "jit", Jit())
    return count


def test_each_bucket_is_compiled_once(directory, compilations):
    pipe = pipeline(directory, batch_size=4)
    assert pipe.buckets == (16, 32)
    assert pipe("the cat") == pipe(["the cat"] * 9)[3]
    assert (compilations, pipe.compiled) == ([(4, 16)], (16,))
    pipe(TEXTS)
    pipe(TEXTS[::-1], function_to_apply="none", top_k=1)
    assert (sorted(compilations), pipe.compiled) == ([(4, 16), (4, 32)], (16, 32))


def test_warm_up_compiles_everything(directory, compilations):
    pipe = pipeline(directory, tokens_per_batch=70)
    pipe.warm_up()
    assert sorted(compilations) == [(2, 32), (4, 16)]
    pipe(TEXTS)
    assert len(compilations) == 2


def test_predictions_do_not_depend_on_the_batch(directory):
    """Nor on its size, the order or how inputs come."""
    alone = pipeline(directory, batch_size=1)
    expected = [alone(text) for text in TEXTS]
    many = pipeline(directory, batch_size=7)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = many([TEXTS[place] for place in order])
    cases.assert_same(shuffled, [expected[place] for place in order])
    cases.assert_same(list(many(text for text in TEXTS)), expected)
    cases.assert_same(list(many.stream(iter(TEXTS), chunk_size=4)), expected)


def test_streams_read_no_more_than_a_chunk(directory):
    taken = []
    endless = (taken.append(number) or "the cat" for number in itertools.count())
    results = pipeline(directory).stream(endless, chunk_size=5)
    for _ in range(7):
        next(results)
    assert len(taken) == 10
    with pytest.raises(ValueError, match="chunk_size=0"):
        pipeline(directory).stream([], chunk_size=0)


def test_nothing_in_nothing_out(directory):
    pipe = pipeline(directory)
    assert pipe([]) == []
    assert list(pipe(iter([]))) == []
    assert list(pipe.stream(())) == []
    assert pipe.compiled == ()


def test_threads_share_a_pipeline(directory, compilations):
    pipe = pipeline(directory, batch_size=3)
    texts = [TEXTS[place:] + TEXTS[:place] for place in range(8)]
    start = threading.Barrier(8)

    def run(each):
        start.wait()
        return pipe(each)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, texts))
    assert sorted(compilations) == [(3, 16), (3, 32)]
    for each, result in zip(texts, results, strict=True):
        cases.assert_same(result, pipe(each))


def test_a_model_object_needs_its_tokenizer(directory):
    model = fl.SequenceClassification.from_pretrained(directory)
    from_object = fl.pipeline("text-classification", model, tokenizer=directory, top_k=None)
    cases.assert_same(from_object(TEXTS[:3]), pipeline(directory)(TEXTS[:3]))
    with pytest.raises(ValueError, match="a model object has no tokenizer with it; give tokenizer="):
        fl.pipeline("text-classification", model)
    with pytest.raises(ValueError, match="fill-mask needs a MaskedLM, got a SequenceClassification"):
        fl.pipeline("fill-mask", model, tokenizer=directory)
    with pytest.raises(ValueError, match="execution belongs to a model that is read"):
        fl.pipeline("text-classification", model, tokenizer=directory, execution=fl.Execution())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 2, "tokens_per_batch": 64}, "give one of the two"),
        ({"batch_size": 0}, "batch_size=0; expected at least 1"),
        ({"tokens_per_batch": 31}, "tokens_per_batch=31 does not hold one row of 32 tokens"),
        ({"max_length": 33}, "max_length=33; expected 3 to 32"),
        ({"max_length": 2}, "max_length=2; expected 3 to 32"),
    ],
)
def test_sizes_are_checked(directory, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline(directory, **options)


def test_what_does_not_belong_together_is_refused(tmp_path):
    directory = cases.saved(tmp_path, "fill-mask", vocab_size=20)
    with pytest.raises(ValueError, match="the tokenizer has 22 pieces, the model 20: they do not belong together"):
        fl.pipeline("fill-mask", directory)
    with pytest.raises(ValueError, match=f"task 'ner' is not known; choose from {', '.join(TASKS)}"):
        fl.pipeline("ner", directory)
    (tmp_path / "bare").mkdir()
    tiny.make("MaskedLM", tiny.bert()).save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"holds no spiece.model, tokenizer.json or vocab.txt"):
        fl.pipeline("fill-mask", tmp_path / "bare")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "question-answering"])
def test_inputs_that_are_no_texts_are_refused(task, tmp_path):
    pipe = cases.opened(tmp_path, task)
    for given in (3, None):
        with pytest.raises(ValueError, match=f"{task} takes .*, or several of them, got {type(given).__name__}"):
            pipe(given)
    with pytest.raises(ValueError, match=r"input 1 is "):
        pipe(["[MASK]", 3])


def test_bfloat16_gives_about_the_same(directory):
    """Scores of the softmax differ by less than 8 bits of a mantissa."""
    exact = pipeline(directory)(TEXTS[:4])
    rough = pipeline(directory, execution=fl.Execution(dtype="bfloat16"))(TEXTS[:4])
    for one, two in zip(exact, rough, strict=True):
        by_label = {each["label"]: each["score"] for each in two}
        for each in one:
            assert abs(each["score"] - by_label[each["label"]]) < 2**-6


def test_models_on_several_devices_are_used_where_they_are(directory):
    mesh = tiny.mesh(2)
    model = fl.SequenceClassification.from_pretrained(directory, mesh=mesh)
    pipe = fl.pipeline("text-classification", model, tokenizer=directory, top_k=None)
    cases.assert_same(pipe(TEXTS[:4]), pipeline(directory)(TEXTS[:4]))
    assert len(jax.tree.leaves(model)[0].sharding.device_set) == 2
