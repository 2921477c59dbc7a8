"""The grammar of the built-in corpus: how a document is derived.

A document describes how a piece of work passes through a small cast of people, with one event per sentence:

    tuesday clara baked golden loaves upstairs. wednesday otto glazed golden loaves outdoors. ...

The `Setting` is constant within a document. Each event follows from the previous one: a day later, one place further
on the ring of places, one step further on the ring of actions of the trade, and by another person. Every ring starts at
a uniformly drawn point and the cast is exchangeable, so words have the same distribution at the start and at the end of
a document: only the relation between consecutive sentences reveals their order. Days and places are short rings at the
first and last position of a sentence, so that a small model learns the order of two segments within a few hundred
steps. (With varying positions and rings of seven to nine words it did not within 1500.)
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from train.data.builtin.lexicon import DEFAULT_LEXICON, FULL_STOP, Lexicon

SPLITS = ("train", "heldout")

# The roles of the words of a sentence, in order; the full stop has no role.
ROLES = ("day", "agent", "action", "quality", "item", "place")
WORDS_PER_SENTENCE = len(ROLES) + 1

Choose = Callable[[int], int]
"""A function that draws one of n branches uniformly."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: who did what to which item, when and where, one word each, in the order of ROLES."""

    day: str
    agent: str
    action: str
    quality: str
    item: str
    place: str

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the sentence, including the full stop."""
        return (*(getattr(self, role) for role in ROLES), FULL_STOP)

    @property
    def sentence(self) -> str:
        """The sentence as text: words separated by one space, and the full stop attached to the last word."""
        return " ".join(self.words[:-1]) + FULL_STOP


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The constants of a document.

    Attributes:
        trade: index of the trade.
        item: the item that is worked on.
        quality: the adjective of the item.
        cast: the people.
        tense: 0 for the present, 1 for the past.
    """

    trade: int
    item: str
    quality: str
    cast: tuple[str, ...]
    tense: int


@dataclass(frozen=True, slots=True)
class Span:
    """The characters [start, end) of a sentence, which are `text` and have `role` in its event."""

    role: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document with its annotation: sentence i describes `events[i]`."""

    setting: Setting
    events: tuple[Event, ...]

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each sentence, including full stops."""
        return tuple(event.words for event in self.events)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences as text."""
        return tuple(event.sentence for event in self.events)

    def spans(self, index: int) -> tuple[Span, ...]:
        """Returns the words of sentence `index` that have a role, with their positions in its text."""
        spans, start = [], 0
        for role, word in zip(ROLES, self.events[index].words[:-1], strict=True):
            spans.append(Span(role, word, start, start + len(word)))
            start += len(word) + 1
        return tuple(spans)


@dataclass(frozen=True)
class Grammar:
    """A lexicon and the parameters of the derivation.

    Attributes:
        lexicon: the words.
        lengths: the possible numbers of sentences of a document, drawn uniformly.
        cast_size: number of persons in a document, at least 2. Each event has another agent than the previous one.
        heldout_people: number of persons, per item, that occur with the item in the held-out split only.
    """

    lexicon: Lexicon = DEFAULT_LEXICON
    # Multiples of 3: rows of 24 tokens hold three sentences, so no sentence of a document is left over.
    lengths: tuple[int, ...] = (6, 9, 12, 15)
    cast_size: int = 3
    heldout_people: int = 16
    _sides: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict, compare=False, repr=False)

    def people(self, item: str, split: str) -> tuple[str, ...]:
        """Returns the persons who may work on `item` in this split; a hash of person and item assigns the split.

        For every seed, no (person, item) pair occurs in both splits, and so no event does. Every person and every item
        occurs in both.

        Raises:
            ValueError: if `split` is not one of `SPLITS`.
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
        """Derives one document; `choose` decides every branch."""
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
    """Hashes a text; unlike `hash`, the result is the same in every process and on every machine."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
