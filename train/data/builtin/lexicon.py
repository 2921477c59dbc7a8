"""The words of the built-in corpus, as data.

Every word belongs to one class only, so that a sentence can be read back into the event it tells: `Lexicon` refuses
anything else. Rings (the actions of a trade, the places of a region, the times of a clock) have no first member.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

FULL_STOP = "."


@dataclass(frozen=True, kw_only=True)
class Trade:
    """One craft: what is worked on, and what is done to it, in the order of the work.

    Attributes:
        name: for people and for later tasks; it never occurs in a sentence.
        items: what the trade makes; plurals and mass nouns, which need no article.
        actions: a ring of verbs in the order of the work, each as its (present, past) form.
    """

    name: str
    items: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Mood:
    """A state of mind, which shows in the manner of a person's actions; `tone` is "good", "bad" or "neutral"."""

    name: str
    tone: str
    manners: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Every word of a grammar, by class.

    Attributes:
        people: names of persons.
        trades: crafts, see `Trade`.
        qualities: adjectives that fit any item.
        regions: rings of place names.
        clocks: rings of times.
        moods: states of mind, see `Mood`.
        time_links, place_links, partner_links: the prepositions that may open a phrase of time, place or company.

    Raises:
        ValueError: a word occurs in two classes, or twice in one.
    """

    people: tuple[str, ...]
    trades: tuple[Trade, ...]
    qualities: tuple[str, ...]
    regions: tuple[tuple[str, ...], ...]
    clocks: tuple[tuple[str, ...], ...]
    moods: tuple[Mood, ...]
    time_links: tuple[str, ...]
    place_links: tuple[str, ...]
    partner_links: tuple[str, ...]

    def __post_init__(self) -> None:
        words = list(self._all_words())
        doubled = sorted({word for word in words if words.count(word) > 1})
        if doubled:
            raise ValueError(
                f"a word may have one meaning only, but these occur twice: {', '.join(doubled)}; rename one of each"
            )

    def _all_words(self) -> Iterator[str]:
        yield FULL_STOP
        for group in (self.people, self.qualities, self.time_links, self.place_links, self.partner_links):
            yield from group
        for ring in (*self.regions, *self.clocks):
            yield from ring
        for mood in self.moods:
            yield from mood.manners
        for trade in self.trades:
            yield from trade.items
            for forms in trade.actions:
                yield from forms

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every word a document can hold, the full stop included, in a fixed order."""
        return tuple(self._all_words())


def _actions(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (entry.split("/") for entry in text.split())
    return tuple((present, past) for present, past in pairs)


def _trade(name: str, items: str, actions: str) -> Trade:
    return Trade(name=name, items=tuple(items.split()), actions=_actions(actions))


def _mood(name: str, tone: str, manners: str) -> Mood:
    return Mood(name=name, tone=tone, manners=tuple(manners.split()))


_PEOPLE = """
anna peter clara oscar greta felix hanna simon irene jonas karen louis maria nadia otto paula quentin rosa stefan
tessa ursula victor wanda xavier yvonne zoe adam bruno celia david elena frank gloria henry isabel julia kurt laura
martin nora oliver petra ralph sara thomas vera walter agnes boris dora edgar fiona georg helga ivan judith klaus
lydia magnus nina oskar philip ruth
"""

_QUALITIES = """
plain small large heavy light bright dark pale strange simple famous rare cheap costly pretty ugly tiny huge broken
perfect special common foreign local modern ancient secret blue green yellow purple orange white black grey golden
striped spotted round narrow
"""

_REGIONS = """
marlow denby alston corbridge whitby tarland selkirk norwood
ashford belford crosby dunmore elmstead farnham grimsby hexham
ilkley jarrow kelso lanark melrose nairn oakham penrith
quorn ripon skipton thirsk ulverston ventnor wooler yarm
aberlour buxton cromer dorking epsom frome garstang harwich
ivybridge kendal ludlow malvern newark ormskirk poole reigate
"""

_CLOCKS = """
dawn sunrise breakfast noon teatime sunset supper dusk midnight
monday tuesday wednesday thursday friday saturday sunday
january february march april may june july august september october november december
"""

DEFAULT_LEXICON = Lexicon(
    people=tuple(_PEOPLE.split()),
    trades=(
        _trade(
            "baker",
            "bread cakes pies rolls biscuits tarts",
            "mixes/mixed kneads/kneaded shapes/shaped bakes/baked cools/cooled glazes/glazed wraps/wrapped serves/served",
        ),
        _trade(
            "gardener",
            "roses beans onions carrots herbs turnips",
            "plants/planted waters/watered weeds/weeded prunes/pruned picks/picked rinses/rinsed bundles/bundled "
            "sells/sold",
        ),
        _trade(
            "tailor",
            "scarves blankets shawls coats curtains gloves",
            "sketches/sketched measures/measured dyes/dyed stitches/stitched hems/hemmed irons/ironed folds/folded "
            "displays/displayed",
        ),
        _trade(
            "potter",
            "bowls jugs vases plates cups tiles",
            "molds/molded dries/dried carves/carved fires/fired paints/painted polishes/polished stacks/stacked "
            "delivers/delivered",
        ),
        _trade(
            "fisher",
            "trout crabs eels salmon herring oysters",
            "chases/chased nets/netted hauls/hauled sorts/sorted cleans/cleaned salts/salted smokes/smoked trades/traded",
        ),
        _trade(
            "carpenter",
            "chairs tables shelves stools cabinets benches",
            "plans/planned saws/sawed joins/joined sands/sanded stains/stained varnishes/varnished inspects/inspected "
            "loads/loaded",
        ),
        _trade(
            "printer",
            "books maps posters letters poems songs",
            "drafts/drafted edits/edited prints/printed checks/checked binds/bound signs/signed labels/labelled "
            "mails/mailed",
        ),
        _trade(
            "jeweller",
            "rings necklaces brooches crowns bracelets coins",
            "melts/melted forges/forged files/filed engraves/engraved gilds/gilded buffs/buffed weighs/weighed "
            "guards/guarded",
        ),
    ),
    qualities=tuple(_QUALITIES.split()),
    regions=tuple(tuple(line.split()) for line in _REGIONS.strip().splitlines()),
    clocks=tuple(tuple(line.split()) for line in _CLOCKS.strip().splitlines()),
    moods=(
        _mood("happy", "good", "gladly happily cheerfully joyfully merrily"),
        _mood("proud", "good", "proudly boldly bravely confidently eagerly"),
        _mood("sad", "bad", "sadly gloomily bitterly tearfully wearily"),
        _mood("angry", "bad", "angrily crossly rudely grimly harshly"),
        _mood("calm", "neutral", "calmly quietly gently silently patiently"),
        _mood("hasty", "neutral", "quickly hastily swiftly briskly rapidly"),
    ),
    time_links=("before", "after", "around", "until"),
    place_links=("in", "near", "outside", "beyond"),
    partner_links=("for", "with", "beside", "alongside"),
)
