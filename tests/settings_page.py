"""Generates docs/settings.md from the settings tables: `python -m tests.settings_page`."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from flax_lite.architecture.registry import families
from flax_lite.architecture.settings import COMMON
from flax_lite.checkpoints.sentence_settings import TABLES as SENTENCE_TRANSFORMERS
from flax_lite.files.settings import OFF, Setting, Table
from flax_lite.tokenization.settings import CLASSES, PIPELINE, SETTINGS, SPECIALS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
_HEAD = """# Settings of a model's files

Every key that a model's files may hold is treated in one of three ways. It is *used*; it is *inert*, because no result
depends on it; or it is *refused* with an error that names it, because it would change the result. A refused key is
accepted if its value means "not set" (`null`, `false`, 0, or empty, unless the table lists other values). A key that is
not listed is kept when the file is written again, and named in one warning.

This page is generated from the tables in the code by `python -m tests.settings_page`.
"""
_ORDER = ("used", "inert", "refused")


def sections() -> dict[str, Table]:
    """Returns the tables by the title of their section."""
    by_family: dict[str, Table] = {
        f"config.json of {family.weights.family}": {
            key: row for key, row in family.config.json_table().items() if COMMON.get(key) != row
        }
        for family in families()
    }
    tokenizer = {"tokenizer_config.json": SETTINGS, "special_tokens_map.json": SPECIALS, "tokenizer.json": PIPELINE}
    return {"config.json of every family": COMMON, **by_family, **tokenizer, **SENTENCE_TRANSFORMERS}


def page(tables: Mapping[str, Table]) -> str:
    """Returns the page in Markdown."""
    return "\n".join(
        [_HEAD, *(line for title, table in tables.items() for line in _section(title, table)), *_classes()]
    )


def _classes() -> Iterator[str]:
    yield from ("## Classes of tokenizers", "", "| class | read from | |", "|---|---|---|")
    for name, row in CLASSES.items():
        remarks = [
            *(["its settings override the normalizer of tokenizer.json"] if row.bert else []),
            *([] if row.token_types else ["pairs have no token types, unless model_input_names lists them"]),
        ]
        yield f"| {name} | {', else '.join(row.files)} | {'; '.join(remarks)} |"
    yield ""


def _section(title: str, table: Table) -> Iterator[str]:
    rows: Mapping[tuple[int, str], list[str]] = defaultdict(list)
    for key, row in table.items():
        why = f": {row.why}" if row.why else ""
        rows[_ORDER.index(row.use), f"{row.use}{_exceptions(row)}{why}"].append(key)
    yield from (f"## {title}", "", "| treatment | keys |", "|---|---|")
    for (_, treatment), keys in sorted(rows.items(), key=lambda item: item[0][0]):  # stable sort
        yield f"| {treatment} | {', '.join(f'`{key}`' for key in keys)} |"
    yield ""


def _exceptions(row: Setting) -> str:
    if row.use != "refused" or row.unless == OFF:
        return ""
    harmless = [f"`{value}`" for value in row.unless if not any(value is off for off in OFF)]
    return f", unless {' or '.join(harmless)}" if harmless else ""


if __name__ == "__main__":
    PAGE.write_text(page(sections()), encoding="utf-8")
    print(f"wrote {PAGE}", file=sys.stderr)
