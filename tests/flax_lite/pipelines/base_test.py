"""Common to all pipelines: fixed shapes, compiled once each; order, streams, threads, independence of the batch."""

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
# Rows of every length from 2 to 40.
TEXTS = [" ".join(["cat", "the", "sat", "a", "unwanted"][place % 5] for place in range(size)) for size in range(30)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return cases.saved(tmp_path_factory.mktemp("classifier"), TASK, **cases.USUAL[TASK])


@pytest.fixture(scope="module")
def source(directory):
    """The model and its tokenizer, read once."""
    return fl.SequenceClassification.from_pretrained(directory), fl.load_tokenizer(directory)


def pipeline(source, **options):
    """A pipeline that has compiled nothing."""
    model, tokenizer = source
    sizes = {} if "tokens_per_batch" in options else {"batch_size": cases.ROWS}
    return fl.pipeline(TASK, model, tokenizer=tokenizer, **{**sizes, "top_k": None, **options})


@pytest.fixture
def compilations(monkeypatch):
    """How often anything was lowered."""
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
    assert pipe("the cat") == pipe(["the cat"] * 9)[3]
    assert (compilations, pipe.compiled) == ([(4, 16)], (16,))
    pipe(TEXTS)
    pipe(TEXTS[::-1], function_to_apply="none", top_k=1)
    assert (sorted(compilations), pipe.compiled) == ([(4, 16), (4, 32)], (16, 32))


def test_the_form_for_inference_computes(source, monkeypatch):
    """Not the model it was made of: `for_inference` returns another one here, so that it shows."""
    (model, tokenizer), expected = source, pipeline(source)("the cat")
    other = tiny.make("SequenceClassification", model.config, seed=9)
    monkeypatch.setattr(base, "for_inference", lambda given: other if given is model else given)
    pipe = pipeline(source)
    assert pipe.model is other
    assert pipe("the cat") == pipeline((other, tokenizer))("the cat") != expected


def test_warm_up_compiles_everything(source, compilations):
    pipe = pipeline(source, tokens_per_batch=70)
    pipe.warm_up()
    assert sorted(compilations) == [(2, 32), (4, 16)]
    pipe(TEXTS)
    assert len(compilations) == 2


def test_predictions_do_not_depend_on_the_batch(source):
    """Nor on its size, the order or how inputs come."""
    alone = pipeline(source, batch_size=1)
    expected = [alone(text) for text in TEXTS]
    many = pipeline(source)
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = many([TEXTS[place] for place in order])
    cases.assert_same(shuffled, [expected[place] for place in order])
    cases.assert_same(list(many(text for text in TEXTS)), expected)
    cases.assert_same(list(many.stream(iter(TEXTS), chunk_size=4)), expected)


def test_streams_read_no_more_than_a_chunk(source):
    taken = []
    endless = (taken.append(number) or "the cat" for number in itertools.count())
    results = pipeline(source).stream(endless, chunk_size=5)
    for _ in range(7):
        next(results)
    assert len(taken) == 10
    with pytest.raises(ValueError, match="chunk_size=0"):
        pipeline(source).stream([], chunk_size=0)


def test_nothing_in_nothing_out(source):
    pipe = pipeline(source)
    assert pipe([]) == []
    assert list(pipe(iter([]))) == []
    assert list(pipe.stream(())) == []
    assert pipe.compiled == ()


def test_threads_share_a_pipeline(source, compilations):
    pipe = pipeline(source)
    texts = [TEXTS[place:] + TEXTS[:place] for place in range(8)]
    start = threading.Barrier(8)

    def run(each):
        start.wait()
        return pipe(each)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, texts))
    assert sorted(compilations) == [(4, 16), (4, 32)]
    for each, result in zip(texts, results, strict=True):
        cases.assert_same(result, pipe(each))


def test_a_model_is_read_with_its_tokenizer_or_given_with_one(directory, source):
    model, _ = source
    read = fl.pipeline(TASK, directory, batch_size=cases.ROWS, top_k=None)
    given = fl.pipeline(TASK, model, tokenizer=directory, batch_size=cases.ROWS, top_k=None)
    cases.assert_same(given(TEXTS[:3]), read(TEXTS[:3]))
    with pytest.raises(ValueError, match="a model object has no tokenizer with it; give tokenizer="):
        fl.pipeline(TASK, model)
    with pytest.raises(ValueError, match="fill-mask needs a MaskedLM, got a SequenceClassification"):
        fl.pipeline("fill-mask", model, tokenizer=directory)
    with pytest.raises(ValueError, match="execution belongs to a model that is read"):
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


def test_what_does_not_belong_together_is_refused(source, tmp_path):
    small = tiny.make("MaskedLM", tiny.bert(vocab_size=20))
    with pytest.raises(ValueError, match="the tokenizer has 22 pieces, the model 20: they do not belong together"):
        fl.pipeline("fill-mask", small, tokenizer=source[1])
    with pytest.raises(ValueError, match=f"task 'ner' is not known; choose from {', '.join(TASKS)}"):
        fl.pipeline("ner", small)
    small.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match=r"holds no spiece.model, tokenizer.json or vocab.txt"):
        fl.pipeline("fill-mask", tmp_path / "bare")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "question-answering"])
def test_inputs_that_are_no_texts_are_refused(task):
    pipe = cases.pipe(task)
    for given in (3, None):
        with pytest.raises(ValueError, match=f"{task} takes .*, or several of them, got {type(given).__name__}"):
            pipe(given)
    with pytest.raises(ValueError, match=r"input 1 is "):
        pipe(["[MASK]", 3])


def test_bfloat16_gives_about_the_same(directory, source):
    """Scores of the softmax differ by less than 8 bits of a mantissa."""
    exact = pipeline(source)(TEXTS[:4])
    execution = fl.Execution(dtype="bfloat16")
    rough = fl.pipeline(TASK, directory, execution=execution, batch_size=cases.ROWS, top_k=None)(TEXTS[:4])
    for one, two in zip(exact, rough, strict=True):
        by_label = {each["label"]: each["score"] for each in two}
        for each in one:
            assert abs(each["score"] - by_label[each["label"]]) < 2**-6


def test_models_on_several_devices_are_used_where_they_are(directory, source):
    model = fl.SequenceClassification.from_pretrained(directory, mesh=tiny.mesh(2))
    pipe = pipeline((model, source[1]))
    cases.assert_same(pipe(TEXTS[:4]), pipeline(source)(TEXTS[:4]))
    assert len(jax.tree.leaves(model)[0].sharding.device_set) == 2


# Task, inputs, which of them have a second text: a token type that a table of one row lacks.
PAIRS = [
    ("text-classification", ["the cat", {"text": "a", "text_pair": "cat"}], 1),
    ("text-classification", [{"text": "a", "text_pair": "cat"}], 0),
    ("text-classification", ["the cat", {"text": "a"}], None),
    ("question-answering", [{"question": "cat", "context": "the cat"}], 0),
    ("token-classification", ["the cat"], None),
    ("fill-mask", ["the [MASK]"], None),
    ("sentence-embedding", ["the cat"], None),
]


@pytest.mark.parametrize(("task", "inputs", "wrong"), PAIRS)
@pytest.mark.parametrize("types", [1, 2])
def test_a_token_type_that_the_model_lacks_is_an_error(task, inputs, wrong, types, tmp_path):
    """Computed, it would be NaN under some label."""
    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "type_vocab_size": types}
    pipe = cases.opened(tmp_path, task, **sizes)
    if wrong is None or types > 1:
        assert len(pipe(inputs)) == len(inputs)
        return
    with pytest.raises(base.InputError, match=f"input {wrong} has tokens of type 1, and the model knows those below"):
        pipe(inputs)
    answered = pipe.stream(inputs)
    assert len([next(answered) for _ in range(wrong)]) == wrong
    with pytest.raises(base.InputError):
        next(answered)


def asked(context):
    return {"question": "cat", "context": context}


def beyond_float16(task, head, dtype):
    """A pipeline whose model has numbers that float16 does not hold, in rows with the piece "sat"."""
    sizes = {"vocab_size": 90, "num_hidden_layers": 1, "max_position_embeddings": cases.LENGTH}
    config = tiny.bert(**sizes, tie_word_embeddings=False)  # or the score of "sat" were infinite in every text
    model = tiny.make(getattr(fl, head), config, execution=fl.Execution(dtype=dtype))
    flat = traverse_util.flatten_dict(get_params(model), sep="/")
    (words,) = (path for path in flat if "embeddings/word/" in path)
    flat[words] = flat[words].at[tiny_files.VOCAB.index("sat")].multiply(1e7)
    large = with_params(nnx.graphdef(model), traverse_util.unflatten_dict(flat, sep="/"))
    return fl.pipeline(task, large, tokenizer=cases.pipe("fill-mask").tokenizer, batch_size=1)


# Inputs of which the second has a piece that float16 does not hold; a long one in the last of its rows.
OVERFLOWS = [
    ("text-classification", "SequenceClassification", ["the cat", "the cat sat a", "a"]),
    ("token-classification", "TokenClassification", ["the cat", "the cat sat a", "a"]),
    ("sentence-embedding", "Encoder", ["the cat", "the cat sat a", "a"]),
    ("fill-mask", "MaskedLM", ["the [MASK]", "the [MASK] sat a", "[MASK]"]),
    ("fill-mask", "MaskedLM", ["[MASK]", "sat [MASK] a [MASK]"]),
    ("question-answering", "QuestionAnswering", [asked("a"), asked("the cat sat"), asked("a b")]),
    ("question-answering", "QuestionAnswering", [asked("a"), asked("the cat " * 30 + "sat")]),
    ("question-answering", "BeamQuestionAnswering", [asked("a"), asked("the cat sat")]),
]


@pytest.mark.parametrize(("task", "head", "inputs"), OVERFLOWS)
def test_results_that_are_not_finite_are_an_error(task, head, inputs):
    """Not a label with NaN, no entities, or no answer: which text, and in which dtype; float32 holds all of them."""
    assert len(beyond_float16(task, head, "float32")(inputs)) == len(inputs)
    pipe = beyond_float16(task, head, "float16")
    said = r"^input 1 has results in float16 that are not finite \(NaN or infinite\): .*; .* give float32 or bfloat16"
    with pytest.raises(base.InputError, match=said) as raised:
        pipe(inputs)
    assert repr(inputs[1])[:60] in str(raised.value)
    answered = pipe.stream(inputs)
    assert next(answered) is not None
    with pytest.raises(base.InputError, match="input 1 "):
        next(answered)


def test_padding_may_be_whatever_it_is(source, monkeypatch):
    """Numbers of a token that is none are read by nobody."""
    pipe = cases.pipe("token-classification")
    expected, run = pipe("the cat"), pipe._programs

    def spoiled(rows):
        for number, outputs in run(rows):
            logits = np.array(outputs["logits"])
            logits[len(rows[number].tokens) :] = np.nan
            yield number, {"logits": logits}

    monkeypatch.setattr(pipe, "_programs", spoiled)
    assert pipe("the cat") == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_model_that_gives_no_numbers_is_an_error_in_float32_too(source, bad, monkeypatch):
    pipe = pipeline(source)
    monkeypatch.setattr(pipe, "_programs", lambda rows: ((0, {"logits": np.array([0.0, bad, 1.0])}) for _ in rows))
    with pytest.raises(base.InputError, match=r"in float32 that are not finite .*: 'the cat'; the model's weights"):
        pipe("the cat")


FAR = 3e38
# Outputs that are finite and as far from each other as float32 has them, and what is expected of some result.
EDGES = [
    ("text-classification", {"logits": [-FAR, 0.0, FAR]}, {}, {"label": "good", "score": 1.0}),
    ("text-classification", {"logits": [-FAR, -FAR, -FAR]}, {}, {"label": "bad", "score": 1 / 3}),
    ("text-classification", {"logits": [-FAR, -2e3, FAR]}, {"function_to_apply": "sigmoid"}, {"score": 1.0}),
    ("text-classification", {"logits": [-FAR] * 3}, {"function_to_apply": "sigmoid"}, {"label": "bad", "score": 0.0}),
    ("text-classification", {"logits": [FAR, 0.0, 0.0]}, {"function_to_apply": "none"}, {"label": "bad"}),
    ("token-classification", {"logits": [[0.0, FAR, -FAR, 0.0, 0.0]] * 9}, {}, {"entity": "B-PER", "score": 1.0}),
    ("fill-mask", {"logits": [-FAR] * 7 + [FAR] + [-FAR] * 82}, {}, {"token": 7, "score": 1.0}),
    # Of [CLS] cat [SEP] the cat sat [SEP]: surely no answer, which is not asked for.
    ("question-answering", {"start": [FAR] + [0.0] * 5 + [1.0], "end": [FAR] + [0.0] * 6}, {}, {"score": 0.0}),
    ("question-answering", {"start": [2e3, 0, 0, 0, 2, 1, 0], "end": [2e3] + [0.0] * 6}, {}, {"answer": "cat"}),
    # The likeliest end stands before the likeliest start.
    ("question-answering", {"start": [0, 0, 0, 0, 0, 2e3, 0], "end": [0, 0, 0, 2e3, 0, 1, 0]}, {}, {"answer": "sat"}),
    ("question-answering", {"start": [-2e4] * 7, "end": [-2e4] * 7}, {}, {"score": 1 / 16}),
    ("question-answering", {"start": [-FAR] * 7, "end": [FAR] * 7}, {"handle_impossible_answer": True}, {"start": 0}),
]


@pytest.mark.parametrize(("task", "outputs", "options", "expected"), EDGES)
def test_an_item_at_the_edge_of_numbers_does_not_lose_a_list(task, outputs, options, expected, monkeypatch):
    """Each head's decoding: no error, no warning, which is an error here, and no number that JSON lacks."""
    pipe = cases.pipe(task)
    (given,) = {"fill-mask": ["[MASK]"], "question-answering": [asked("the cat sat")]}.get(task, ["the cat"])
    usual, arrays = pipe(given, **options), {name: np.array(values, np.float32) for name, values in outputs.items()}

    def far_once(rows, run=pipe._programs):
        for number, found in run(rows):
            yield number, arrays if number == 0 else found

    monkeypatch.setattr(pipe, "_programs", far_once)
    far, near = pipe([given, given], **options)
    assert [near] == usual if task == "text-classification" else near == usual
    first = far[0] if isinstance(far, list) else far
    assert {name: first[name] for name in expected} == pytest.approx(expected)
    assert json.loads(json.dumps(far, allow_nan=False)) == far
