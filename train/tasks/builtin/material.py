"""The document and random choices from which an example is built, and the replacement of its words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from train.data.builtin.generator import DEFAULT_GRAMMAR
from train.data.builtin.grammar import Choose, Document, Event

GRAMMAR = DEFAULT_GRAMMAR
LEXICON = GRAMMAR.lexicon

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Material:
    """A document, and the random choices with which an example is built from it.

    Attributes:
        index: index of the example in its split; labels alternate with it, so that they are balanced.
        split: "train" or "heldout".
        document: the document of the same index and split.
        choose: draws one of n branches uniformly.
    """

    index: int
    split: str
    document: Document
    choose: Choose

    @property
    def id(self) -> str:
        """The id of the example."""
        return f"{self.split}-{self.index}"

    def pick(self, options: Sequence[T], *, exclude: Collection[T] = ()) -> T:
        """Draws one of the options that are not in `exclude` uniformly."""
        allowed = [option for option in options if option not in exclude]
        return allowed[self.choose(len(allowed))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Returns the options in a random order."""
        remaining = list(options)
        return [remaining.pop(self.choose(len(remaining))) for _ in options]

    def window(self, length: int) -> tuple[Event, ...]:
        """Draws `length` consecutive events of the document."""
        start = self.choose(len(self.document.events) - length + 1)
        return self.document.events[start : start + length]

    def alternatives(self, event: Event, role: str) -> tuple[str, ...]:
        """Returns the words that a role may have in the event, including its present word.

        Actions and items are of the document's trade, so that the changed sentence is as likely in the corpus. The pair
        of person and item has to be one of the split, so that the changed sentence does not occur in the other split;
        an item may have no alternative.
        """
        setting = self.document.setting
        trade = LEXICON.trades[setting.trade]
        if role == "agent":
            return GRAMMAR.people(event.item, self.split)
        if role == "item":
            return tuple(item for item in trade.items if event.agent in GRAMMAR.people(item, self.split))
        if role == "action":
            return tuple(forms[setting.tense] for forms in trade.actions)
        return {"day": LEXICON.days, "quality": LEXICON.qualities, "place": LEXICON.places}[role]


def changed(event: Event, role: str, word: str) -> Event:
    """Returns the event with another word in a role."""
    return replace(event, **{role: word})
