"""The page of settings says what the tables say."""

from tests.settings_page import PAGE, page, sections


def test_the_page_is_that_of_the_tables():
    message = "docs/settings.md is not what the tables say; write it again: python -m tests.settings_page"
    assert PAGE.read_text(encoding="utf-8") == page(sections()), message
