"""The grammar of the built-in corpus: one derivation, for drawing documents and for enumerating all of them.

A document tells how one piece of work goes round a small cast of people. Its `Setting` holds throughout; its events
follow from each other: time moves on one step of its clock, the work one step of its trade, the place stays or moves
one step along its road, and whoever helped last mostly acts next. All rings are entered at a uniformly drawn point and
the cast is exchangeable, so the words of a document are distributed the same at its start and at its end: only how
one sentence relates to the next tells which came first.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from train.data.builtin.lexicon import DEFAULT_LEXICON, FULL_STOP, Lexicon

SPLITS = ("train", "heldout")

# Word classes. A word's role in its sentence is one of these, or "" for what only holds the sentence together.
AGENT, ACTION, ITEM, QUALITY = "agent", "action", "item", "quality"
PARTNER, PLACE, TIME, MANNER = "partner", "place", "time", "manner"

# What a sentence may look like; MANNER is left out of a sentence whose event has none. No two of these, with or without
# MANNER, differ in one word only, so a sentence with one word hidden still shows which form it has.
_CORE = (AGENT, MANNER, ACTION, QUALITY, ITEM)
_LINKS = TIME_LINK, PLACE_LINK, PARTNER_LINK = "time_link", "place_link", "partner_link"
_TIME, _PLACE, _PARTNER = (TIME_LINK, TIME), (PLACE_LINK, PLACE), (PARTNER_LINK, PARTNER)
FORMS: tuple[tuple[str, ...], ...] = (
    (*_TIME, *_CORE, *_PARTNER, *_PLACE),
    (*_TIME, *_CORE, *_PLACE, *_PARTNER),
    (*_PLACE, *_CORE, *_PARTNER, *_TIME),
    (*_PLACE, *_CORE, *_TIME, *_PARTNER),
    (*_CORE, *_PARTNER, *_PLACE, *_TIME),
    (*_CORE, *_PARTNER, *_TIME, *_PLACE),
    (*_CORE, *_PLACE, *_TIME, *_PARTNER),
    (*_CORE, *_TIME, *_PLACE, *_PARTNER),
)

Choose = Callable[[Sequence[float] | int], int]
"""Draws one of n equally likely branches (int), or one of several with the given probabilities."""


@dataclass(frozen=True, slots=True)
class Event:
    """Who did what to what, with whom, where, when and how; every field but `manner` ("" if untold) is one word."""

    agent: str
    action: str
    item: str
    quality: str
    partner: str
    place: str
    time: str
    manner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What holds throughout a document; `moods[i]` indexes the mood of `cast[i]`, `region` and `clock` their rings."""

    trade: int
    item: str
    quality: str
    region: int
    clock: int
    cast: tuple[str, ...]
    moods: tuple[int, ...]
    tense: int
    time_link: str
    place_link: str
    partner_link: str


@dataclass(frozen=True, slots=True)
class Span:
    """A piece `text` of a sentence at characters [start, end) that plays `role` in the sentence's event."""

    role: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text with what it says: sentence i tells `events[i]`, and its word j plays the role `roles[i][j]`."""

    setting: Setting
    events: tuple[Event, ...]
    words: tuple[tuple[str, ...], ...]
    roles: tuple[tuple[str, ...], ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences as text: words with one space between them, the full stop joined to the last."""
        return tuple(" ".join(words[:-1]) + FULL_STOP for words in self.words)

    def spans(self, index: int) -> tuple[Span, ...]:
        """The words of sentence `index` that play a role in its event, with their places in its text."""
        spans, start = [], 0
        for word, role in zip(self.words[index], self.roles[index], strict=True):
            if role:
                spans.append(Span(role, word, start, start + len(word)))
            start += len(word) + 1
        return tuple(spans)


@dataclass(frozen=True)
class Grammar:
    """A lexicon with the probabilities of the derivation.

    Attributes:
        lexicon: the words.
        forms: the sentence forms in use, equally likely.
        lengths: the numbers of sentences a document may have, equally likely.
        cast_size: persons in a document, at least 2.
        manner: probability that a sentence tells the manner of its action.
        hand_over: probability that the last partner acts next; else one of the others of the cast does.
        travel: probability that the next event is one place further along the road.
        heldout_people: how many persons, for each item and region, occur with them in the held-out split only.
    """

    lexicon: Lexicon = DEFAULT_LEXICON
    forms: tuple[tuple[str, ...], ...] = FORMS
    lengths: tuple[int, ...] = tuple(range(8, 21))
    cast_size: int = 3
    manner: float = 0.4
    hand_over: float = 0.9
    travel: float = 0.75
    heldout_people: int = 8
    _sides: dict[tuple[str, int], dict[str, tuple[str, ...]]] = field(default_factory=dict, compare=False, repr=False)

    def people(self, item: str, region: int, split: str) -> tuple[str, ...]:
        """Who may meet `item` in `region` in this split: for each pair the persons are parted by their hashes.

        All other pairs of words occur in both splits; the triples (person, item, region) of one never occur in the
        other, and neither do the events made of them, whatever the seed.

        Raises:
            ValueError: `split` is not one of `SPLITS`.
        """
        if split not in SPLITS:
            raise ValueError(f"the built-in corpus has the splits {' and '.join(SPLITS)}, not {split!r}")
        sides = self._sides.get((item, region))
        if sides is None:
            ranked = sorted(self.lexicon.people, key=lambda name: _hash(f"{name} {item} {region}"))
            heldout = frozenset(ranked[: self.heldout_people])
            sides = {
                "train": tuple(name for name in self.lexicon.people if name not in heldout),
                "heldout": tuple(name for name in self.lexicon.people if name in heldout),
            }
            self._sides[item, region] = sides
        return sides[split]

    @cached_property
    def rendered_forms(self) -> tuple[tuple[tuple[tuple[str, ...], tuple[str, ...]], ...], ...]:
        """Per form, without and with MANNER: its slots, and the role of each word with the full stop's."""
        return tuple(
            tuple((slots, (*("" if slot in _LINKS else slot for slot in slots), "")) for slots in (plain, form))
            for form in self.forms
            for plain in [tuple(slot for slot in form if slot != MANNER)]
        )

    def derive(self, split: str, choose: Choose) -> Document:
        """Derives one document, asking `choose` at every branch."""
        length = self.lengths[choose(len(self.lengths))]
        setting = self._derive_setting(split, choose)
        events, words, roles = [], [], []
        for event in self._derive_events(setting, length, choose):
            form = choose(len(self.forms))
            slots, slot_roles = self.rendered_forms[form][bool(event.manner)]
            values = slot_values(setting, event)
            events.append(event)
            words.append((*(values[slot] for slot in slots), FULL_STOP))
            roles.append(slot_roles)
        return Document(setting=setting, events=tuple(events), words=tuple(words), roles=tuple(roles))

    def _derive_setting(self, split: str, choose: Choose) -> Setting:
        lexicon = self.lexicon
        trade = choose(len(lexicon.trades))
        items = lexicon.trades[trade].items
        item = items[choose(len(items))]
        region = choose(len(lexicon.regions))
        people = list(self.people(item, region, split))
        cast = tuple(people.pop(choose(len(people))) for _ in range(self.cast_size))
        return Setting(
            trade=trade,
            item=item,
            quality=lexicon.qualities[choose(len(lexicon.qualities))],
            region=region,
            clock=choose(len(lexicon.clocks)),
            cast=cast,
            moods=tuple(choose(len(lexicon.moods)) for _ in cast),
            tense=choose(2),
            time_link=lexicon.time_links[choose(len(lexicon.time_links))],
            place_link=lexicon.place_links[choose(len(lexicon.place_links))],
            partner_link=lexicon.partner_links[choose(len(lexicon.partner_links))],
        )

    def _derive_events(self, setting: Setting, length: int, choose: Choose) -> Iterator[Event]:
        lexicon, cast = self.lexicon, setting.cast
        actions = lexicon.trades[setting.trade].actions
        places, times = lexicon.regions[setting.region], lexicon.clocks[setting.clock]
        action, place, time = choose(len(actions)), choose(len(places)), choose(len(times))
        agent = choose(len(cast))
        for _ in range(length):
            partner = _other(agent, choose(len(cast) - 1))
            manner = ""
            if choose((1 - self.manner, self.manner)):
                manners = lexicon.moods[setting.moods[agent]].manners
                manner = manners[choose(len(manners))]
            yield Event(
                agent=cast[agent],
                action=actions[action][setting.tense],
                item=setting.item,
                quality=setting.quality,
                partner=cast[partner],
                place=places[place],
                time=times[time],
                manner=manner,
            )
            action, time = (action + 1) % len(actions), (time + 1) % len(times)
            place = (place + choose((1 - self.travel, self.travel))) % len(places)
            agent = partner if choose((1 - self.hand_over, self.hand_over)) else _other(partner, choose(len(cast) - 1))


def slot_values(setting: Setting, event: Event) -> dict[str, str]:
    """The word that each slot of a sentence form takes."""
    return {
        AGENT: event.agent,
        ACTION: event.action,
        ITEM: event.item,
        QUALITY: event.quality,
        PARTNER: event.partner,
        PLACE: event.place,
        TIME: event.time,
        MANNER: event.manner,
        TIME_LINK: setting.time_link,
        PLACE_LINK: setting.place_link,
        PARTNER_LINK: setting.partner_link,
    }


def _other(index: int, draw: int) -> int:
    """The `draw`-th index of the cast when `index` itself is left out."""
    return draw + (draw >= index)


def _hash(text: str) -> bytes:
    """Equal on every machine and in every process, which `hash` is not."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
