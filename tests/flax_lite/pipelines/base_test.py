"""All pipelines: fixed shapes compiled once, order, streams, threads, and independence of the batch."""

import concurrent.futures
import itertools
import json
import threading

import jax
import numpy as np
import pytest
from flax import nnx, traverse_util

import flax_lite as fl
from flax_lite.models.params import get_params, with_params
from flax_lite.pipelines import TASKS, base, programs
from tests.flax_lite import tiny
from tests.flax_lite.pipelines import cases
from tests.flax_lite.tokenization import tiny_files

pytestmark = pytest.mark.compat

TASK = "text-classification"
TEXTS = [" ".join(["cat", "the", "sat", "a", "unwanted"][index % 5] for index in range(size)) for size in range(30)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return cases.saved(tmp_path_factory.mktemp("classifier"), TASK, **cases.DEFAULTS[TASK])


@pytest.fixture(scope="module")
def source(directory):
    """The model and its tokenizer, loaded once."""
    return fl.SequenceClassification.from_pretrained(directory), fl.load_tokenizer(directory)


def pipeline(source, **options):
    """Returns a pipeline that has compiled nothing."""
    model, tokenizer = source
    sizes = {} if "tokens_per_batch" in options else {"batch_size": cases.ROWS}
    return fl.pipeline(TASK, model, tokenizer=tokenizer, **{**sizes, "top_k": None, **options})


@pytest.fixture
def compilations(monkeypatch):
    """The shapes of input_ids for which a program was lowered."""
    count, jit = [], jax.jit

    class Jit:
        def __call__(self, function):
            jitted = jit(function)

            class Counted:
                def lower(self, *arguments):
                    count.append(arguments[1]["input_ids"].shape)
                    return jitted.lower(*arguments)

            return Counted()

    monkeypatch.setattr(programs.jax, "jit", Jit())
    return count


def test_each_bucket_is_compiled_once(source, compilations):
    pipe = pipeline(source)
    assert pipe.buckets == (16, 32)
    first = pipe(["the cat"] * 9)
    assert first[3] == pipe(["the cat", "a"] * 9)[4]
    assert (compilations, pipe.compiled) == ([(4, 16)], ((4, 16),))
    pipe(TEXTS)
    pipe(TEXTS[::-1], function_to_apply="none", top_k=1)
    assert (sorted(compilations), pipe.compiled) == ([(4, 16), (4, 32)], ((4, 16), (4, 32)))


def test_few_texts_are_run_in_few_rows(source, compilations):
    """One text in one row; the last chunk of a stream in batches of the same shapes as those before it."""
    pipe = pipeline(source, batch_size=64, max_length=16)
    expected = [(1, 16), (4, 16), (16, 16), (64, 16)]
    for count, shapes in ((1, 1), (2, 2), (4, 2), (5, 3), (17, 4), (64, 4), (65, 4)):
        assert len(pipe(["the cat"] * count)) == count
        assert compilations == expected[:shapes]
    fresh = pipeline(source, batch_size=8, max_length=16)
    assert len(list(fresh.stream(["the cat"] * 17, chunk_size=8))) == 17
    assert fresh.compiled == ((8, 16),)
    assert len(list(fresh.stream(["the cat"] * 3, chunk_size=1))) == 3
    assert fresh.compiled == ((1, 16), (8, 16))


def test_results_of_two_shapes_differ_by_rounding_only(source):
    """By at most 16 units in the last place of the largest logit."""
    model, tokenizer = source
    pipe = fl.pipeline(TASK, model, tokenizer=tokenizer, function_to_apply="none", top_k=None)
    texts = [text for text in TEXTS if text]
    together = pipe(texts)
    for text, several in zip(texts, together, strict=True):
        alone = {result["label"]: result["score"] for result in pipe(text)}
        largest = np.float32(max(map(abs, alone.values())))
        assert all(abs(result["score"] - alone[result["label"]]) <= 16 * np.spacing(largest) for result in several)


def test_batch_size_may_be_given_to_a_call(source, compilations):
    pipe = pipeline(source, max_length=16)
    expected = pipe(["the cat"] * 6)
    for call in (pipe, lambda *args, **options: list(pipe.stream(*args, **options))):
        cases.assert_same(call(["the cat"] * 6, batch_size=2), expected)
    assert compilations == [(4, 16), (2, 16)]
    pipe(["the cat"] * 6)
    assert len(compilations) == 2
    with pytest.raises(ValueError, match="batch_size=0; expected at least 1"):
        pipe("the cat", batch_size=0)


def test_the_model_for_inference_is_used(source, monkeypatch):
    """Here `for_inference` returns another model, to show that its result is used."""
    (model, tokenizer), expected = source, pipeline(source)("the cat")
    other = tiny.make("SequenceClassification", model.config, seed=9)
    monkeypatch.setattr(base, "for_inference", lambda given: other if given is model else given)
    pipe = pipeline(source)
    assert pipe.model is other
    assert pipe("the cat") == pipeline((other, tokenizer))("the cat") != expected


def test_warm_up_compiles_everything(source, compilations):
    pipe = pipeline(source, tokens_per_batch=70)
    pipe.warm_up()
    assert sorted(compilations) == [(1, 16), (1, 32), (2, 32), (4, 16)]
    for count in (1, 3, len(TEXTS)):
        pipe(TEXTS[:count])
        pipe(TEXTS[-count:])
    assert len(compilations) == 4


def test_predictions_do_not_depend_on_the_batch(source):
    """Nor on its size, the order of the inputs, or the type of the iterable."""
    single = pipeline(source, batch_size=1)
    expected = [single(text) for text in TEXTS]
    batched = pipeline(source)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = batched([TEXTS[index] for index in order])
    cases.assert_same(shuffled, [expected[index] for index in order])
    cases.assert_same(list(batched(text for text in TEXTS)), expected)
    cases.assert_same(list(batched.stream(iter(TEXTS), chunk_size=4)), expected)


def test_streams_read_no_more_than_a_chunk(source):
    taken = []
    endless = (taken.append(number) or "the cat" for number in itertools.count())
    results = pipeline(source).stream(endless, chunk_size=5)
    for _ in range(7):
        next(results)
    assert len(taken) == 10
    with pytest.raises(ValueError, match="chunk_size=0"):
        pipeline(source).stream([], chunk_size=0)


def test_no_inputs_give_no_results(source):
    pipe = pipeline(source)
    assert pipe([]) == []
    assert list(pipe(iter([]))) == []
    assert list(pipe.stream(())) == []
    assert pipe.compiled == ()


def test_threads_share_a_pipeline(source, compilations):
    pipe = pipeline(source)
    texts = [TEXTS[shift:] + TEXTS[:shift] for shift in range(8)]
    start = threading.Barrier(8)

    def run(inputs):
        start.wait()
        return pipe(inputs)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, texts))
    assert sorted(compilations) == [(4, 16), (4, 32)]
    for inputs, result in zip(texts, results, strict=True):
        cases.assert_same(result, pipe(inputs))


def test_a_model_is_a_source_or_an_object_with_a_tokenizer(directory, source):
    model, _ = source
    read = fl.pipeline(TASK, directory, batch_size=cases.ROWS, top_k=None)
    given = fl.pipeline(TASK, model, tokenizer=directory, batch_size=cases.ROWS, top_k=None)
    cases.assert_same(given(TEXTS[:3]), read(TEXTS[:3]))
    with pytest.raises(ValueError, match="a model object has no tokenizer; give tokenizer="):
        fl.pipeline(TASK, model)
    with pytest.raises(ValueError, match="fill-mask needs a MaskedLM, got a SequenceClassification"):
        fl.pipeline("fill-mask", model, tokenizer=directory)
    with pytest.raises(ValueError, match="execution is for a model that is loaded from a SOURCE"):
        fl.pipeline(TASK, model, tokenizer=directory, execution=fl.Execution())


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
def test_sizes_are_checked(source, options, message):
    with pytest.raises(ValueError, match=message):
        pipeline(source, **options)


def test_model_and_tokenizer_or_task_that_do_not_fit_are_refused(source, tmp_path):
    small = tiny.make("MaskedLM", tiny.bert(vocab_size=20))
    with pytest.raises(ValueError, match="the tokenizer has 22 pieces, the model 20: they do not belong together"):
        fl.pipeline("fill-mask", small, tokenizer=source[1])
    names = ", ".join((*TASKS, "ner", "sentiment-analysis"))
    with pytest.raises(
        ValueError, match=f"task 'fill_mask' is not known, did you mean fill-mask.; choose from {names}"
    ):
        fl.pipeline("fill_mask", small)
    small.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"holds no spiece.model, tokenizer.json or vocab.txt"):
        fl.pipeline("fill-mask", tmp_path / "bare")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "question-answering"])
def test_inputs_other_than_texts_are_refused(task):
    pipe = cases.pipe(task)
    for given in (3, None):
        with pytest.raises(ValueError, match=f"{task} takes .*, or several of them, got {type(given).__name__}"):
            pipe(given)
    with pytest.raises(ValueError, match=r"input 1 is "):
        pipe(["[MASK]", 3])


def test_bfloat16_is_close_to_float32(directory, source):
    """Scores of the softmax differ by less than 2^-6, two units of an 8-bit mantissa."""
    exact = pipeline(source)(TEXTS[:4])
    execution = fl.Execution(dtype="bfloat16")
    rough = fl.pipeline(TASK, directory, execution=execution, batch_size=cases.ROWS, top_k=None)(TEXTS[:4])
    for one, two in zip(exact, rough, strict=True):
        by_label = {result["label"]: result["score"] for result in two}
        for result in one:
            assert abs(result["score"] - by_label[result["label"]]) < 2**-6


def test_models_on_several_devices_stay_there(directory, source):
    model = fl.SequenceClassification.from_pretrained(directory, mesh=tiny.mesh(2))
    pipe = pipeline((model, source[1]))
    cases.assert_same(pipe(TEXTS[:4]), pipeline(source)(TEXTS[:4]))
    assert len(jax.tree.leaves(model)[0].sharding.device_set) == 2


# Task, inputs, index of the first input with a second text, whose token type an embedding table of one row lacks.
PAIRS = [
    ("text-classification", ["the cat", {"text": "a", "text_pair": "cat"}], 1),
    ("text-classification", [{"text": "a", "text_pair": "cat"}], 0),
    ("text-classification", ["the cat", {"text": "a"}], None),
    ("question-answering", [{"question": "cat", "context": "the cat"}], 0),
    ("token-classification", ["the cat"], None),
    ("fill-mask", ["the [MASK]"], None),
    ("sentence-embedding", ["the cat"], None),
    ("feature-extraction", ["the cat"], None),
]


@pytest.mark.parametrize(("task", "inputs", "wrong"), PAIRS)
@pytest.mark.parametrize("types", [1, 2])
def test_a_token_type_without_embedding_is_an_error(task, inputs, wrong, types, tmp_path):
    """Without the check the outputs would be NaN."""
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "type_vocab_size": types}
    pipe = cases.opened(tmp_path, task, **sizes)
    if wrong is None or types > 1:
        assert len(pipe(inputs)) == len(inputs)
        return
    with pytest.raises(
        base.InputError, match=f"input {wrong} has tokens of type 1, and the model knows only those below"
    ):
        pipe(inputs)
    results = pipe.stream(inputs)
    assert len([next(results) for _ in range(wrong)]) == wrong
    with pytest.raises(base.InputError):
        next(results)


def query(context):
    return {"question": "cat", "context": context}


def beyond_float16(task, head, dtype):
    """Returns a pipeline whose activations exceed the range of float16 in rows with the piece "sat"."""
    sizes = {"vocab_size": 90, "num_hidden_layers": 1, "max_position_embeddings": cases.LENGTH}
    config = tiny.bert(
        **sizes, tie_word_embeddings=False
    )  # a tied decoder would have an infinite score of "sat" for every text
    model = tiny.make(getattr(fl, head), config, execution=fl.Execution(dtype=dtype))
    flat = traverse_util.flatten_dict(get_params(model), sep="/")
    (words,) = (path for path in flat if "embeddings/word/" in path)
    flat[words] = flat[words].at[tiny_files.VOCAB.index("sat")].multiply(1e7)
    large = with_params(nnx.graphdef(model), traverse_util.unflatten_dict(flat, sep="/"))
    return fl.pipeline(task, large, tokenizer=cases.pipe("fill-mask").tokenizer, batch_size=1)


# The second input exceeds the range of float16; if it has several rows, in the last one.
OVERFLOWS = [
    ("text-classification", "SequenceClassification", ["the cat", "the cat sat a", "a"]),
    ("token-classification", "TokenClassification", ["the cat", "the cat sat a", "a"]),
    ("sentence-embedding", "Encoder", ["the cat", "the cat sat a", "a"]),
    ("feature-extraction", "Encoder", ["the cat", "the cat sat a", "a"]),
    ("fill-mask", "MaskedLM", ["the [MASK]", "the [MASK] sat a", "[MASK]"]),
    ("fill-mask", "MaskedLM", ["[MASK]", "sat [MASK] a [MASK]"]),
    (
        "question-answering",
        "QuestionAnswering",
        [query("a"), query("the cat sat"), query("a b")],
    ),
    ("question-answering", "QuestionAnswering", [query("a"), query("the cat " * 30 + "sat")]),
    ("question-answering", "BeamQuestionAnswering", [query("a"), query("the cat sat")]),
]


@pytest.mark.parametrize(("task", "head", "inputs"), OVERFLOWS)
def test_results_that_are_not_finite_are_an_error(task, head, inputs):
    """The error names the text and the dtype; in float32 all results are finite."""
    assert len(beyond_float16(task, head, "float32")(inputs)) == len(inputs)
    pipe = beyond_float16(task, head, "float16")
    message = (
        r"^input 1 has results in float16 that are not finite \(NaN or infinite\): .*; .* give float32 or bfloat16"
    )
    with pytest.raises(base.InputError, match=message) as raised:
        pipe(inputs)
    assert repr(inputs[1])[:60] in str(raised.value)
    results = pipe.stream(inputs)
    assert next(results) is not None
    with pytest.raises(base.InputError, match="input 1 "):
        next(results)


def test_outputs_of_padding_are_ignored(source, monkeypatch):
    """They may be NaN."""
    pipe = cases.pipe("token-classification")
    expected, run = pipe("the cat"), pipe._programs

    def spoiled(rows, sizes):
        for number, outputs in run(rows, sizes):
            logits = np.array(outputs["logits"])
            logits[len(rows[number].tokens) :] = np.nan
            yield number, {"logits": logits}

    monkeypatch.setattr(pipe, "_programs", spoiled)
    assert pipe("the cat") == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_in_float32_are_an_error(source, bad, monkeypatch):
    pipe = pipeline(source)
    monkeypatch.setattr(pipe, "_programs", lambda rows, _: ((0, {"logits": np.array([0.0, bad, 1.0])}) for _ in rows))
    with pytest.raises(base.InputError, match=r"in float32 that are not finite .*: 'the cat'; the model's weights"):
        pipe("the cat")


LARGE = 3e38
# Finite outputs at the limits of float32, and fields of the expected first result.
EDGES = [
    ("text-classification", {"logits": [-LARGE, 0.0, LARGE]}, {}, {"label": "good", "score": 1.0}),
    ("text-classification", {"logits": [-LARGE, -LARGE, -LARGE]}, {}, {"label": "bad", "score": 1 / 3}),
    ("text-classification", {"logits": [-LARGE, -2e3, LARGE]}, {"function_to_apply": "sigmoid"}, {"score": 1.0}),
    ("text-classification", {"logits": [-LARGE] * 3}, {"function_to_apply": "sigmoid"}, {"label": "bad", "score": 0.0}),
    ("text-classification", {"logits": [LARGE, 0.0, 0.0]}, {"function_to_apply": "none"}, {"label": "bad"}),
    ("token-classification", {"logits": [[0.0, LARGE, -LARGE, 0.0, 0.0]] * 9}, {}, {"entity": "B-PER", "score": 1.0}),
    ("fill-mask", {"logits": [-LARGE] * 7 + [LARGE] + [-LARGE] * 82}, {}, {"token": 7, "score": 1.0}),
    # Row [CLS] cat [SEP] the cat sat [SEP]: "no answer" has probability 1, but is not a possible result.
    ("question-answering", {"start": [LARGE] + [0.0] * 5 + [1.0], "end": [LARGE] + [0.0] * 6}, {}, {"score": 0.0}),
    ("question-answering", {"start": [2e3, 0, 0, 0, 2, 1, 0], "end": [2e3] + [0.0] * 6}, {}, {"answer": "cat"}),
    # The most likely end is before the most likely start.
    ("question-answering", {"start": [0, 0, 0, 0, 0, 2e3, 0], "end": [0, 0, 0, 2e3, 0, 1, 0]}, {}, {"answer": "sat"}),
    ("question-answering", {"start": [-2e4] * 7, "end": [-2e4] * 7}, {}, {"score": 1 / 16}),
    (
        "question-answering",
        {"start": [-LARGE] * 7, "end": [LARGE] * 7},
        {"handle_impossible_answer": True},
        {"start": 0},
    ),
]


@pytest.mark.parametrize(("task", "outputs", "options", "expected"), EDGES)
def test_extreme_outputs_are_decoded(task, outputs, options, expected, monkeypatch):
    """Without an error, without a warning (which is an error here), and to numbers that JSON can express."""
    pipe = cases.pipe(task)
    (given,) = {"fill-mask": ["[MASK]"], "question-answering": [query("the cat sat")]}.get(task, ["the cat"])
    arrays = {name: np.array(values, np.float32) for name, values in outputs.items()}
    _, normal = pipe([given, given], **options)

    def extreme_first(rows, sizes, run=pipe._programs):
        for number, found in run(rows, sizes):
            yield number, arrays if number == 0 else found

    monkeypatch.setattr(pipe, "_programs", extreme_first)
    extreme, second = pipe([given, given], **options)
    assert second == normal
    first = extreme[0] if isinstance(extreme, list) else extreme
    assert {name: first[name] for name in expected} == pytest.approx(expected)
    assert json.loads(json.dumps(extreme, allow_nan=False)) == extreme
