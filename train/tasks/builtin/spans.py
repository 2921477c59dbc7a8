"""Which word of a text is asked for?"""

from train.data.builtin.grammar import Document, Event
from train.tasks.builtin.material import Material
from train.tasks.examples import Answer, SpanExample

# What differs between neighboring sentences, and so can be asked.
ASKED = ("day", "agent", "action", "place")
# Without the quality, which is the same in all sentences, question and text fit into the rows of 24 tokens that
# configs/albert_tiny.py pretrains on. Question words would be spelled in letters and be too long.
_QUESTION = ("day", "agent", "action", "item", "place")
_BLANK = "?"
# One question in this many has no answer.
_UNANSWERABLE = 3


def make(material: Material, *, unanswerable: bool = False) -> SpanExample:
    """Two consecutive sentences, and as question one of them with a question mark for a word: "friday ? baked pies".

    Days, persons, actions and places are asked for alike.

    Args:
        material: what the example is made of.
        unanswerable: a third of the questions are about the sentence that comes next, which the text leaves out. The
            others are the same with and without it.
    """
    role = ASKED[material.index % len(ASKED)]
    *told, untold = material.window(3)
    number = material.choose(len(told))
    missing = material.choose(_UNANSWERABLE) == 0
    document = Document(setting=material.document.setting, events=tuple(told))
    context = " ".join(document.sentences)
    if unanswerable and missing:
        return SpanExample(id=material.id, question=_question(untold, role), context=context)
    (span,) = (span for span in document.spans(number) if span.role == role)
    # Sentences are joined by one space.
    start = span.start + sum(len(sentence) + 1 for sentence in document.sentences[:number])
    answers = (Answer(span.text, start),)
    return SpanExample(id=material.id, question=_question(told[number], role), context=context, answers=answers)


def _question(event: Event, asked: str) -> str:
    return " ".join(_BLANK if role == asked else getattr(event, role) for role in _QUESTION) + "."
