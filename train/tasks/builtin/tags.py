"""Which words name days, persons, things and places?"""

from train.data.builtin.grammar import ROLES
from train.data.builtin.lexicon import FULL_STOP
from train.tasks.builtin.material import Material
from train.tasks.examples import TagExample

# The tags of a role's word; a quality begins the item that it stands before, and is nothing by itself.
_TAGS = {"day": "B-DAY", "agent": "B-PERSON", "item": "B-ITEM", "place": "B-PLACE"}
LABELS = ("O", "B-DAY", "I-DAY", "B-PERSON", "I-PERSON", "B-ITEM", "I-ITEM", "B-PLACE", "I-PLACE")
_NUM_SENTENCES = 3


def make(material: Material) -> TagExample:
    """Notes: three consecutive sentences, each word of which is left out with probability 1/2.

    So neither a word's place nor its neighbors tell its class.
    """
    words, roles = [], []
    for event in material.window(_NUM_SENTENCES):
        kept = [role for role in ROLES if material.choose(2)]
        words += [*(getattr(event, role) for role in kept), FULL_STOP]
        roles += [*kept, ""]
    # No role's word stands before the first.
    around = zip(["", *roles], roles, [*roles[1:], ""], strict=False)
    tags = tuple(LABELS.index(_tag(*neighbors)) for neighbors in around)
    return TagExample(id=material.id, words=tuple(words), tags=tags)


def _tag(before: str, role: str, after: str) -> str:
    if (role, after) == ("quality", "item"):
        return "B-ITEM"
    if (before, role) == ("quality", "item"):
        return "I-ITEM"
    return _TAGS.get(role, "O")
