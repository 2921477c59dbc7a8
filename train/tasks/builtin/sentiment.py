"""The built-in task "sentiment": does the action of a sentence belong to the trade of its item?"""

from train.tasks.builtin.material import LEXICON, Material, changed
from train.tasks.examples import TextExample

LABELS = ("negative", "positive")


def make(material: Material) -> TextExample:
    """Builds a sentence of the document, unchanged (positive) or with an action of another trade (negative).

    Every action and every item occurs with both labels, so that only their combination reveals the label. Longer texts
    with more such actions were learned more slowly.
    """
    (event,) = material.window(1)
    label = material.index % len(LABELS)
    if label == LABELS.index("negative"):
        setting = material.document.setting
        trade = material.pick(LEXICON.trades, exclude=(LEXICON.trades[setting.trade],))
        event = changed(event, "action", material.pick(trade.actions)[setting.tense])
    return TextExample(id=material.id, texts=(event.sentence,), label=label)
