"""What an example is made of, and how words of it are replaced."""

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
    """One document and the choices that make an example of it.

    Attributes:
        index: of the example in its split; labels go round by it, so that they are balanced.
        split: "train" or "heldout".
        document: of the same index and split.
        choose: draws one of n equally likely branches.
    """

    index: int
    split: str
    document: Document
    choose: Choose

    @property
    def id(self) -> str:
        """The example's."""
        return f"{self.split}-{self.index}"

    def pick(self, options: Sequence[T], *, but: Collection[T] = ()) -> T:
        """One of the options, equally likely, but none of `but`."""
        left = [option for option in options if option not in but]
        return left[self.choose(len(left))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All the options, every order equally likely."""
        left = list(options)
        return [left.pop(self.choose(len(left))) for _ in options]

    def window(self, length: int) -> tuple[Event, ...]:
        """`length` consecutive events of the document, from an equally likely one."""
        start = self.choose(len(self.document.events) - length + 1)
        return self.document.events[start : start + length]

    def alternatives(self, event: Event, role: str) -> tuple[str, ...]:
        """The words of a role's class that suit the event's other words, its own among them.

        Actions and items are of the document's trade, so that what is exchanged for them is as likely in the corpus; of
        persons and items those whose pair with the other is the split's own, so that no text made of them occurs in the
        other split. An item may be the only one.
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
    """The event with another word in a role."""
    return replace(event, **{role: word})
