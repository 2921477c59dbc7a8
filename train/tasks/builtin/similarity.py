"""The built-in task "similarity": how many words do two sentences share?"""

from train.tasks.builtin.material import Material, changed
from train.tasks.examples import TextExample

LABELS = ("similarity",)
HIGHEST = 5
ROLES = ("day", "agent", "action", "quality", "place")


def make(material: Material) -> TextExample:
    """Builds a pair: a sentence, and a copy with up to five words replaced by others of their class.

    The score is the number of words that are the same, besides the item: 0 to 5, equally often. Replaced and kept words
    are equally frequent.
    """
    (event,) = material.window(1)
    score = material.index % (HIGHEST + 1)
    other = event
    for role in material.shuffled(ROLES)[score:]:
        word = material.pick(material.alternatives(event, role), exclude=(getattr(event, role),))
        other = changed(other, role, word)
    return TextExample(id=material.id, texts=(event.sentence, other.sentence), label=float(score))
