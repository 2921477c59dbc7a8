"""Windows over long contexts, answers, and ALBERT's head for SQuAD 2."""

from flax_lite.question_answering.answers import AnswerSpan, decode_answers, find_answer
from flax_lite.question_answering.beam import BeamAnswersOutput, BeamQuestionAnswering, beam_objective
from flax_lite.question_answering.beam_decoding import Beams, decode_beams
from flax_lite.question_answering.windows import Window, question_windows

__all__ = [
    "AnswerSpan",
    "BeamAnswersOutput",
    "BeamQuestionAnswering",
    "Beams",
    "Window",
    "beam_objective",
    "decode_answers",
    "decode_beams",
    "find_answer",
    "question_windows",
]
