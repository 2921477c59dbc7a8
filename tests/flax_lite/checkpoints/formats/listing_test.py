"""Tests of the lists of problems in error messages."""

from flax_lite.checkpoints.formats.listing import listing


def test_listing_counts_and_sorts() -> None:
    assert listing("missing", ["b", "a"]) == "2 missing:\n  a\n  b"
    assert listing("missing", []) == ""


def test_long_listing_is_cut_and_counts_the_rest() -> None:
    lines = listing("missing", [f"{number:05d}" for number in range(65_536)]).split("\n")
    assert (lines[0], lines[1], lines[-1]) == ("65536 missing:", "  00000", "  ... and 65526 more")
    assert len(lines) == 12
    assert len(listing("missing", map(str, range(10))).split("\n")) == 11
