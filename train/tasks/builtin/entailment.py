"""Does a sentence follow from a text?"""

from train.data.builtin.grammar import ROLES, Event
from train.tasks.builtin.material import Material, changed
from train.tasks.examples import TextExample

LABELS = ("entailment", "contradiction")
# Of one a model of 64 features finds few within 300 steps.
_NUM_CONTRADICTED = 2


def make(material: Material) -> TextExample:
    """Two consecutive sentences, and one of them again, as it is (entailment) or with two other words (contradiction).

    The other words are of the same classes and in neither sentence, and of the same trade: no hypothesis shows by
    itself what it is.
    """
    events = material.window(2)
    label = material.index % len(LABELS)
    hypothesis = material.pick(events)
    if label == LABELS.index("contradiction"):
        hypothesis = _contradicted(material, events, hypothesis)
    texts = (" ".join(event.sentence for event in events), hypothesis.sentence)
    return TextExample(id=material.id, texts=texts, label=label)


def _contradicted(material: Material, events: tuple[Event, ...], hypothesis: Event) -> Event:
    count = 0
    for role in material.shuffled(ROLES):
        told = {getattr(event, role) for event in events}
        others = [word for word in material.alternatives(hypothesis, role) if word not in told]
        if others and count < _NUM_CONTRADICTED:
            hypothesis = changed(hypothesis, role, material.pick(others))
            count += 1
    return hypothesis
