"""The grammar of the built-in corpus: how a document is derived.

A document tells how one piece of work goes round a small cast of people, an event a sentence:

    tuesday clara baked golden loaves upstairs. wednesday otto glazed golden loaves outdoors. ...

Its `Setting` holds throughout; its events follow from each other: each comes a day later and one place further round
the house, the work moves on one step of its trade, and another person takes over. All rings are entered at a uniformly
drawn point and the cast is exchangeable, so the words of a document are distributed alike at its start and at its
end: only how one sentence relates to the next tells which came first. Two rings of few words, days and places, always
stand first and last in their sentence: a small model finds the order of two segments within a few hundred steps. (It
did not within 1500 where their places in the sentence varied and the rings had seven to nine words.)
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from train.data.builtin.lexicon import DEFAULT_LEXICON, FULL_STOP, Lexicon

SPLITS = ("train", "heldout")

# The roles of a sentence's words, in their order; the full stop has none.
ROLES = ("day", "agent", "action", "quality", "item", "place")
WORDS_PER_SENTENCE = len(ROLES) + 1

Choose = Callable[[int], int]
"""Draws one of n equally likely branches."""


@dataclass(frozen=True, slots=True)
class Event:
    """Who did what to what, when and where: a word each, in the order of ROLES."""

    day: str
    agent: str
    action: str
    quality: str
    item: str
    place: str

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the sentence that tells it, the full stop included."""
        return (*(getattr(self, role) for role in ROLES), FULL_STOP)

    @property
    def sentence(self) -> str:
        """The sentence as text: words with one space between them, the full stop joined to the last."""
        return " ".join(self.words[:-1]) + FULL_STOP


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What holds throughout a document: the trade by its index, its item and quality, the people, and the tense.

    `tense` is 0 for the present and 1 for the past.
    """

    trade: int
    item: str
    quality: str
    cast: tuple[str, ...]
    tense: int


@dataclass(frozen=True, slots=True)
class Span:
    """A piece `text` of a sentence at characters [start, end) that plays `role` in the sentence's event."""

    role: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text with what it says: sentence i tells `events[i]`."""

    setting: Setting
    events: tuple[Event, ...]

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each sentence, full stops included."""
        return tuple(event.words for event in self.events)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences as text."""
        return tuple(event.sentence for event in self.events)

    def spans(self, index: int) -> tuple[Span, ...]:
        """The words of sentence `index` that play a role in its event, with their places in its text."""
        spans, start = [], 0
        for role, word in zip(ROLES, self.events[index].words[:-1], strict=True):
            spans.append(Span(role, word, start, start + len(word)))
            start += len(word) + 1
        return tuple(spans)


@dataclass(frozen=True)
class Grammar:
    """A lexicon with the numbers of the derivation.

    Attributes:
        lexicon: the words.
        lengths: the numbers of sentences a document may have, equally likely.
        cast_size: persons in a document, at least 2; another of them acts in each event, equally likely.
        heldout_people: how many persons, for each item, occur with it in the held-out split only.
    """

    lexicon: Lexicon = DEFAULT_LEXICON
    # Multiples of 3: rows of 24 tokens hold three sentences, and a document leaves none over.
    lengths: tuple[int, ...] = (6, 9, 12, 15)
    cast_size: int = 3
    heldout_people: int = 16
    _sides: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict, compare=False, repr=False)

    def people(self, item: str, split: str) -> tuple[str, ...]:
        """Who may work on `item` in this split: for each item the persons are parted by their hashes.

        No (person, item) pair of one split ever occurs in the other, and neither does an event made of it, whatever the
        seed; every person and every item occurs in both.

        Raises:
            ValueError: `split` is not one of `SPLITS`.
        """
        if split not in SPLITS:
            raise ValueError(f"the built-in corpus has the splits {' and '.join(SPLITS)}, not {split!r}")
        if item not in self._sides:
            ranked = sorted(self.lexicon.people, key=lambda name: _hash(f"{name} {item}"))
            heldout = frozenset(ranked[: self.heldout_people])
            self._sides[item] = {
                "train": tuple(name for name in self.lexicon.people if name not in heldout),
                "heldout": tuple(name for name in self.lexicon.people if name in heldout),
            }
        return self._sides[item][split]

    def derive(self, split: str, choose: Choose) -> Document:
        """Derives one document, asking `choose` at every branch."""
        length = self.lengths[choose(len(self.lengths))]
        setting = self._derive_setting(split, choose)
        return Document(setting=setting, events=tuple(self._derive_events(setting, length, choose)))

    def _derive_setting(self, split: str, choose: Choose) -> Setting:
        lexicon = self.lexicon
        trade = choose(len(lexicon.trades))
        items = lexicon.trades[trade].items
        item = items[choose(len(items))]
        people = list(self.people(item, split))
        return Setting(
            trade=trade,
            item=item,
            quality=lexicon.qualities[choose(len(lexicon.qualities))],
            cast=tuple(people.pop(choose(len(people))) for _ in range(self.cast_size)),
            tense=choose(2),
        )

    def _derive_events(self, setting: Setting, length: int, choose: Choose) -> Iterator[Event]:
        days, places = self.lexicon.days, self.lexicon.places
        actions = self.lexicon.trades[setting.trade].actions
        day, place, action = (choose(len(ring)) for ring in (days, places, actions))
        agent = choose(len(setting.cast))
        for number in range(length):
            yield Event(
                day=_on_ring(days, day + number),
                agent=setting.cast[agent],
                action=_on_ring(actions, action + number)[setting.tense],
                quality=setting.quality,
                item=setting.item,
                place=_on_ring(places, place + number),
            )
            other = choose(len(setting.cast) - 1)
            agent = other + (other >= agent)


def _on_ring(ring: Sequence, position: int):  # noqa: ANN202
    return ring[position % len(ring)]


def _hash(text: str) -> bytes:
    """Equal on every machine and in every process, which `hash` is not."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
