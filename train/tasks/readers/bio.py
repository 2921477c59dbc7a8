"""Tags of entities: BIO, and IOB1 made BIO (Ramshaw and Marcus 1995; Tjong Kim Sang and Veenstra 1999)."""

from collections.abc import Sequence

from train.errors import UserError


def to_bio(tags: Sequence[str], place: str) -> tuple[str, ...]:
    """The same entities in BIO, in which each begins with B-.

    In IOB1 an entity begins with I- unless it touches one of the same type before it. Valid BIO stays as it is.

    Args:
        tags: of a sentence, each O, B-TYPE or I-TYPE.
        place: where the sentence stands, for a message.

    Raises:
        UserError: for any other tag.
    """
    result: list[str] = []
    before = "O"
    for tag in tags:
        prefix, dash, kind = tag.partition("-")
        if tag != "O" and not (prefix in ("B", "I") and dash and kind):
            raise UserError(
                f"{place}: the tag {tag!r} is neither O nor B-TYPE nor I-TYPE. Expected tags in BIO or IOB1: convert "
                "others (IOBES, BILOU), or choose the column of the tags."
            )
        inside = prefix == "I" and before[2:] == kind
        result.append(tag if tag == "O" or inside else f"B-{kind}")
        before = tag
    return tuple(result)
