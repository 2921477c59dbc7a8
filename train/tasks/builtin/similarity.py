"""How alike are two sentences: how many of their words are the same?"""

from train.tasks.builtin.material import Material, changed
from train.tasks.examples import TextExample

LABELS = ("similarity",)
HIGHEST = 5
ROLES = ("day", "agent", "action", "quality", "place")


def make(material: Material) -> TextExample:
    """A sentence, and it with up to five words exchanged for others of their class; both are about the same item.

    The numbers 0 to 5 of words that stay occur alike, and so do the words.
    """
    (event,) = material.window(1)
    score = material.index % (HIGHEST + 1)
    other = event
    for role in material.shuffled(ROLES)[score:]:
        own = getattr(event, role)
        other = changed(other, role, material.pick(material.alternatives(event, role), but=(own,)))
    return TextExample(id=material.id, texts=(event.sentence, other.sentence), label=float(score))
