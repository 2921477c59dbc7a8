"""The built-in task "tags": which words name days, persons, items and places?"""

from train.data.builtin.grammar import ROLES
from train.data.builtin.lexicon import FULL_STOP
from train.tasks.builtin.material import Material
from train.tasks.examples import TagExample

# The tag of each role; a quality is part of the item that it precedes, and has no tag otherwise.
_TAGS = {"day": "B-DAY", "agent": "B-PERSON", "item": "B-ITEM", "place": "B-PLACE"}
LABELS = ("O", "B-DAY", "I-DAY", "B-PERSON", "I-PERSON", "B-ITEM", "I-ITEM", "B-PLACE", "I-PLACE")
_NUM_SENTENCES = 3


def make(material: Material) -> TagExample:
    """Builds three consecutive sentences in which each word is dropped with probability 1/2.

    Neither the position nor the neighbors of a word then reveal its class.
    """
    words, roles = [], []
    for event in material.window(_NUM_SENTENCES):
        kept = [role for role in ROLES if material.choose(2)]
        words += [*(getattr(event, role) for role in kept), FULL_STOP]
        roles += [*kept, ""]
    neighborhoods = zip(["", *roles], roles, [*roles[1:], ""], strict=False)
    tags = tuple(LABELS.index(_tag(*neighborhood)) for neighborhood in neighborhoods)
    return TagExample(id=material.id, words=tuple(words), tags=tags)


def _tag(previous: str, role: str, following: str) -> str:
    if (role, following) == ("quality", "item"):
        return "B-ITEM"
    if (previous, role) == ("quality", "item"):
        return "I-ITEM"
    return _TAGS.get(role, "O")
