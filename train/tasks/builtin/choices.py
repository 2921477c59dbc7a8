"""Which sentence comes next?"""

from train.tasks.builtin.material import Material, changed
from train.tasks.examples import ChoiceExample

RINGS = ("day", "action", "place")
NUM_CHOICES = 4


def make(material: Material) -> ChoiceExample:
    """A sentence, and four that may follow it: the next one, and it with one or both of two words off their rings.

    Each of the words in question stands in two of the four, so that the choices by themselves tell nothing.
    """
    event, following = material.window(2)
    first, second = material.shuffled(RINGS)[:2]
    words = {
        role: material.pick(material.alternatives(following, role), but=(getattr(following, role),))
        for role in (first, second)
    }
    one, other = (changed(following, role, words[role]) for role in (first, second))
    both = changed(one, second, words[second])
    label = material.index % NUM_CHOICES
    choices = [choice.sentence for choice in material.shuffled((one, other, both))]
    choices.insert(label, following.sentence)
    return ChoiceExample(id=material.id, context=event.sentence, choices=tuple(choices), label=label)
