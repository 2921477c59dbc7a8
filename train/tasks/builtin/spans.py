"""The built-in task "spans": which word of a text answers a question?"""

from train.data.builtin.grammar import Document, Event
from train.tasks.builtin.material import Material
from train.tasks.examples import Answer, SpanExample

# The roles that differ between neighboring sentences, so that a question has one answer.
ASKED = ("day", "agent", "action", "place")
# Without the quality, which is the same in all sentences, question and text fit into the rows of 24 tokens of
# configs/albert_tiny.py. Question words are not in its vocabulary and would take too many tokens.
_QUESTION = ("day", "agent", "action", "item", "place")
_BLANK = "?"
# One question in this many has no answer.
_UNANSWERABLE = 3


def make(material: Material, *, unanswerable: bool = False) -> SpanExample:
    """Builds a question: two consecutive sentences, and one of them with "?" in place of a word: "friday ? baked pies".

    Questions for days, persons, actions and places are equally frequent.

    Args:
        material: the document and random choices.
        unanswerable: whether a third of the questions are about the next sentence, which is not in the text. The other
            questions do not depend on it.
    """
    role = ASKED[material.index % len(ASKED)]
    *included, excluded = material.window(3)
    number = material.choose(len(included))
    missing = material.choose(_UNANSWERABLE) == 0
    document = Document(setting=material.document.setting, events=tuple(included))
    context = " ".join(document.sentences)
    if unanswerable and missing:
        return SpanExample(id=material.id, question=_question(excluded, role), context=context)
    (span,) = (span for span in document.spans(number) if span.role == role)
    # Sentences are joined by one space.
    start = span.start + sum(len(sentence) + 1 for sentence in document.sentences[:number])
    answers = (Answer(span.text, start),)
    return SpanExample(id=material.id, question=_question(included[number], role), context=context, answers=answers)


def _question(event: Event, asked: str) -> str:
    return " ".join(_BLANK if role == asked else getattr(event, role) for role in _QUESTION) + "."
