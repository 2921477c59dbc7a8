"""Does a sentence hang together: is its action one of the item's trade?"""

from train.tasks.builtin.material import LEXICON, Material, changed
from train.tasks.examples import TextExample

LABELS = ("negative", "positive")


def make(material: Material) -> TextExample:
    """A sentence of the document, as it is (positive) or with an action of another trade (negative).

    Each action and each item occurs with both labels: only the two together tell. A longer text with more such actions
    was learned more slowly.
    """
    (event,) = material.window(1)
    label = material.index % len(LABELS)
    if label == LABELS.index("negative"):
        setting = material.document.setting
        trade = material.pick(LEXICON.trades, but=(LEXICON.trades[setting.trade],))
        event = changed(event, "action", material.pick(trade.actions)[setting.tense])
    return TextExample(id=material.id, texts=(event.sentence,), label=label)
