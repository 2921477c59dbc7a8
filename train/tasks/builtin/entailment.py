"""The built-in task "entailment": does a sentence follow from a text?"""

from train.data.builtin.grammar import ROLES, Event
from train.tasks.builtin.material import Material, changed
from train.tasks.examples import TextExample

LABELS = ("entailment", "contradiction")
# With a single changed word, a model of width 64 learns little within 300 steps.
_NUM_CONTRADICTED = 2


def make(material: Material) -> TextExample:
    """Builds a pair: two consecutive sentences, and one of them, unchanged (entailment) or changed (contradiction).

    A contradiction has two other words of the same classes and the same trade that occur in neither sentence, so that a
    hypothesis by itself does not reveal its label.
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
        seen = {getattr(event, role) for event in events}
        others = [word for word in material.alternatives(hypothesis, role) if word not in seen]
        if others and count < _NUM_CONTRADICTED:
            hypothesis = changed(hypothesis, role, material.pick(others))
            count += 1
    return hypothesis
