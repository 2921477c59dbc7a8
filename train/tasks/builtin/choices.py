"""The built-in task "choices": which of four sentences comes next?"""

from train.tasks.builtin.material import Material, changed
from train.tasks.examples import ChoiceExample

RINGS = ("day", "action", "place")
NUM_CHOICES = 4


def make(material: Material) -> ChoiceExample:
    """Builds a question: a sentence and four continuations.

    The continuations are the next sentence, and copies of it in which one or both of two words do not follow on their
    rings. Each of these words occurs in two of the four, so that the choices by themselves do not reveal the answer.
    """
    event, following = material.window(2)
    first, second = material.shuffled(RINGS)[:2]
    words = {
        role: material.pick(material.alternatives(following, role), exclude=(getattr(following, role),))
        for role in (first, second)
    }
    one, other = (changed(following, role, words[role]) for role in (first, second))
    both = changed(one, second, words[second])
    label = material.index % NUM_CHOICES
    choices = [choice.sentence for choice in material.shuffled((one, other, both))]
    choices.insert(label, following.sentence)
    return ChoiceExample(id=material.id, context=event.sentence, choices=tuple(choices), label=label)
