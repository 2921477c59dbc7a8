"""The words of the built-in corpus.

Every word belongs to exactly one class, which `Lexicon` checks, so that a sentence determines its event. The actions of
a trade, the days and the places are rings: after the last word follows the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

FULL_STOP = "."


@dataclass(frozen=True, kw_only=True)
class Trade:
    """A craft with its items and actions.

    Attributes:
        name: name of the trade; it never occurs in a sentence.
        items: the products of the trade; plurals and mass nouns, which need no article.
        actions: a ring of verbs in the order of the work, each as (present, past).
    """

    name: str
    items: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """All words of a grammar by class.

    Attributes:
        people: names of persons.
        trades: the trades with their items and actions.
        qualities: adjectives that fit every item.
        days: a ring of days.
        places: a ring of adverbs of place.

    Raises:
        ValueError: if a word occurs twice, in one class or in two.
    """

    people: tuple[str, ...]
    trades: tuple[Trade, ...]
    qualities: tuple[str, ...]
    days: tuple[str, ...]
    places: tuple[str, ...]

    def __post_init__(self) -> None:
        words = list(self._all_words())
        doubled = sorted({word for word in words if words.count(word) > 1})
        if doubled:
            raise ValueError(
                f"a word may belong to one class only, but these occur twice: {', '.join(doubled)}; rename one of each"
            )

    def _all_words(self) -> Iterator[str]:
        yield FULL_STOP
        for group in (self.people, self.qualities, self.days, self.places):
            yield from group
        for trade in self.trades:
            yield from trade.items
            for forms in trade.actions:
                yield from forms

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words that a document can contain, including the full stop, in a fixed order."""
        return tuple(self._all_words())


def _trade(name: str, items: str, actions: str) -> Trade:
    pairs = (entry.split("/") for entry in actions.split())
    return Trade(name=name, items=tuple(items.split()), actions=tuple((present, past) for present, past in pairs))


_PEOPLE = """
anna peter clara oscar greta felix hanna simon irene jonas karen louis maria nadia otto paula quentin rosa stefan
tessa ursula victor wanda xavier yvonne zoe adam bruno celia david elena frank gloria henry isabel julia kurt laura
martin nora oliver petra ralph sara thomas vera walter agnes boris dora edgar fiona georg helga ivan judith klaus
lydia magnus nina oskar philip ruth alma bernd carla dieter emma fritz gerda hugo ida jakob katrin leo mina norbert
olga pablo queenie robert sofia tilda ulrich valerie willi xenia york zita arthur berta conrad diana erik flora gustav
heidi ines julius kira lorenz mathilda nils ophelia
"""

_QUALITIES = """
plain small large heavy light bright dark pale strange simple famous rare cheap costly pretty ugly tiny huge broken
perfect special common foreign local modern ancient secret blue green yellow purple orange white black grey golden
striped spotted round narrow
"""

DEFAULT_LEXICON = Lexicon(
    people=tuple(_PEOPLE.split()),
    trades=(
        _trade(
            "baker",
            "loaves cakes pies rolls biscuits tarts muffins waffles",
            "kneads/kneaded shapes/shaped bakes/baked glazes/glazed serves/served",
        ),
        _trade(
            "gardener",
            "roses beans onions carrots herbs turnips radishes tulips",
            "plants/planted waters/watered weeds/weeded picks/picked bundles/bundled",
        ),
        _trade(
            "tailor",
            "scarves blankets shawls coats curtains gloves aprons jackets",
            "measures/measured dyes/dyed stitches/stitched irons/ironed folds/folded",
        ),
        _trade(
            "potter",
            "bowls jugs vases plates cups tiles saucers pitchers",
            "molds/molded dries/dried fires/fired paints/painted stacks/stacked",
        ),
        _trade(
            "fisher",
            "trout crabs eels salmon herring oysters lobsters mussels",
            "nets/netted hauls/hauled cleans/cleaned salts/salted smokes/smoked",
        ),
        _trade(
            "carpenter",
            "chairs tables shelves stools cabinets benches ladders cradles",
            "saws/sawed joins/joined sands/sanded varnishes/varnished delivers/delivered",
        ),
        _trade(
            "printer",
            "books maps posters letters poems songs leaflets calendars",
            "drafts/drafted edits/edited prints/printed binds/bound mails/mailed",
        ),
        _trade(
            "jeweller",
            "rings necklaces brooches crowns bracelets coins medals earrings",
            "melts/melted forges/forged engraves/engraved polishes/polished weighs/weighed",
        ),
    ),
    qualities=tuple(_QUALITIES.split()),
    days=("monday", "tuesday", "wednesday", "thursday", "friday"),
    places=("indoors", "upstairs", "outdoors", "downstairs"),
)
