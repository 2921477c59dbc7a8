"""Question answering: results of transformers' own pipeline on its Flax class's logits; windows; shapes of results."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.flax_lite.pipelines import cases

QUESTION = "the cat?"
CONTEXTS = ["the cat sat, the unwanted cat wanted a b.", "cats", "The cat's  cat  sat the cat the a-b-a"]
# Contexts of several windows.
CONTEXTS += ["the cat sat, the unwanted cat wanted a b. " * 6, "a b cat unwanted sat the " * 9]
OPTIONS = [
    {},
    {"top_k": 4},
    {"top_k": 3, "handle_impossible_answer": True},
    {"handle_impossible_answer": True, "max_answer_len": 1},
    {"top_k": 5, "max_answer_len": 3, "align_to_words": False},
    {"top_k": 3, "handle_impossible_answer": True, "doc_stride": 3},
]


@pytest.fixture(scope="module")
def pipe():
    return cases.pipe("question-answering")


def expected(hf, context, options):
    """Returns the result of transformers' QuestionAnsweringPipeline, with the windows and masks that it would make."""
    encoded = hf.tokenizer(
        QUESTION,
        context,
        truncation="only_second",
        max_length=cases.LENGTH,
        stride=options.get("doc_stride", cases.LENGTH // 2),
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    options = {name: value for name, value in options.items() if name != "doc_stride"}
    example = SimpleNamespace(context_text=context)
    windows = [window(hf, encoded, number) | {"example": example} for number in range(len(encoded["input_ids"]))]
    return hf.postprocessing("QuestionAnsweringPipeline").postprocess(windows, **options)


def window(hf, encoded, number):
    names = ("input_ids", "attention_mask", "token_type_ids")
    ids = encoded["input_ids"][number]
    outputs = hf.outputs({name: encoded[name][number] for name in names})
    mask = np.array([part != 1 for part in encoded.sequence_ids(number)])
    mask[0] = False
    return {name: cases.tensor(outputs[f"{name}_logits"][None, : len(ids)]) for name in ("start", "end")} | {
        "p_mask": mask[None],
        "attention_mask": cases.tensor(np.ones((1, len(ids)), int)),
        "encoding": encoded[number],
        "input_ids": ids,
    }


@pytest.mark.reference
def test_answers_equal_those_of_transformers(pipe, tmp_path, monkeypatch):
    cases.saved(tmp_path, "question-answering")
    hf = cases.HuggingFace(tmp_path, "question-answering", monkeypatch)
    for options in OPTIONS:
        found = pipe(question=[QUESTION] * len(CONTEXTS), context=CONTEXTS, **options)
        for context, answers in zip(CONTEXTS, found, strict=True):
            found_list, expected_list = (
                result if isinstance(result, list) else [result] for result in (answers, expected(hf, context, options))
            )
            # transformers adds spans of score 0 if there are too few others.
            cases.assert_same(found_list, [result for result in expected_list if result["score"] > 0])


@pytest.mark.compat
def test_long_contexts_are_split_into_windows(pipe):
    context = "the cat sat " * 40
    request = pipe._request({"question": QUESTION, "context": context}, 0, pipe._defaults)
    assert len(request.rows) > 4
    assert max(len(row.tokens) for row in request.rows) == pipe.max_length
    covered = {tuple(span) for window in request.notes for span in window.spans.tolist() if span[0] >= 0}
    assert len(covered) == 120
    answer = pipe(question=QUESTION, context=context)
    assert context[answer["start"] : answer["end"]] == answer["answer"] != ""


def test_doc_stride_is_the_overlap_of_windows(pipe):
    def windows(shared):
        options = pipe.options_type(doc_stride=shared)
        return pipe._windows(QUESTION, "the cat sat " * 20, options)

    for shared in (0, 5):
        first, second = windows(shared)[:2]
        spans = [{tuple(span) for span in window.spans.tolist() if span[0] >= 0} for window in (first, second)]
        assert len(spans[0] & spans[1]) == shared
    assert len(windows(1000)) < 40


def test_answers_are_whole_words(pipe):
    context = "unwanted unwanted"
    answers = pipe(question=QUESTION, context=context, top_k=9)
    assert {answer["answer"] for answer in answers} <= {"unwanted", "unwanted unwanted"}
    pieces = pipe(question=QUESTION, context=context, top_k=9, align_to_words=False)
    assert {"un", "want", "ed"} & {answer["answer"] for answer in pieces}


def test_results_have_the_shapes_of_transformers(pipe):
    given = {"question": QUESTION, "context": CONTEXTS[0]}
    assert pipe(given).keys() == {"score", "start", "end", "answer"}
    cases.assert_same(pipe([given, given]), [pipe(given)] * 2)
    assert pipe(**given) == pipe(given)
    cases.assert_same(pipe(question=[QUESTION, "a"], context=CONTEXTS[0])[0], pipe(given))
    assert len(pipe(given, top_k=2)) == 2


@pytest.mark.parametrize(
    ("words", "options", "warning"),
    [
        (9, {}, None),
        (20, {}, None),
        (9, {"max_question_len": 8}, "a question of 9 tokens is truncated to the 8 that fit into max_question_len=8"),
        (20, {"max_question_len": 3}, "a question of 20 tokens is truncated to the 3 that fit into max_question_len=3"),
    ],
)
def test_a_long_question_is_truncated_with_one_warning(words, options, warning, pipe, caplog, monkeypatch):
    monkeypatch.setattr(pipe, "_warned", set())
    given = {"question": "cat " * words, "context": CONTEXTS[0]}
    truncated = {"question": "cat " * options.get("max_question_len", words), "context": CONTEXTS[0]}
    assert pipe([given, given], **options) == pipe([truncated, truncated])
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ([] if warning is None else [f"question-answering: {warning}; further ones are not reported"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda pipe: pipe("the cat"), "input 0 is 'the cat'; question-answering takes {"),
        (lambda pipe: pipe([{"question": "a"}]), "input 0 is {'question': 'a'}"),
        (lambda pipe: pipe(question="a", context=" "), "input 0 has the context ' '; expected"),
        (
            lambda pipe: pipe([{"question": "a", "context": "b"}, {"question": "", "context": "a"}]),
            "input 1 has the question ''",
        ),
        (lambda pipe: pipe(question="a"), "needs a question and a context"),
        (lambda pipe: pipe({}, question="a"), "not both"),
        (lambda pipe: pipe(question=["a", "b"], context=["a"]), "2 questions but 1 contexts"),
        (lambda pipe: pipe(question="a", context="a", top_k=0), "top_k=0"),
        (lambda pipe: pipe(question="a", context="a", doc_stride=-1), "doc_stride=-1"),
        (lambda pipe: pipe(question="a " * 99, context="a"), "has no room for context"),
    ],
)
def test_invalid_calls_are_refused(call, message, pipe):
    with pytest.raises(ValueError, match=message):
        call(pipe)
