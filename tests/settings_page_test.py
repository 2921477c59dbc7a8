"""Tests that docs/settings.md is up to date."""

from tests.settings_page import PAGE, page, sections


def test_settings_page_matches_the_tables():
    message = "docs/settings.md differs from the tables; regenerate it: python -m tests.settings_page"
    assert PAGE.read_text(encoding="utf-8") == page(sections()), message
