"""The study as one HTML page that loads nothing, and as Markdown."""

import base64
import html
from collections.abc import Sequence

from benchmarks.harness.results import Series
from benchmarks.harness.tables import markdown_table
from benchmarks.study.plots import Plot
from benchmarks.study.report import DECISIONS, Cell, Table, circumstances, sources, tables
from benchmarks.study.results import Row

TITLE = "Compact encoders compared"
LEGEND = (
    "Figures are measured unless they are in italics with a dagger: those are published, by the source of that number."
)
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fcfcfa; --line: #d9dcdf; --soft: #5b636c; --band: #f1f2ef;
  --good: #00694b; --bad: #a63c00; --other: #6a4a86; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #15181b; --line: #363b40; --soft: #a3abb3;
  --band: #1e2226; --good: #5ecfa6; --bad: #ff9d66; --other: #c9a9e6; } }
body { margin: 0 auto; max-width: 76rem; padding: 1rem clamp(0.8rem, 3vw, 2.5rem) 4rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin-bottom: 0.2rem; }
h2 { margin: 2.6rem 0 0.3rem; font-size: 1.3rem; }
p { max-width: 50rem; color: var(--soft); overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; }
tr:nth-child(even) td { background: var(--band); }
td:first-child { font-weight: 600; }
.published { color: var(--other); font-style: italic; }
.missing { color: var(--soft); opacity: 0.75; }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
figure { margin: 0; padding: 0.6rem; border: 1px solid var(--line); border-radius: 0.5rem; background: #fff; }
figure img { width: 100%; display: block; }
a { color: inherit; }
"""


def page(series: Series[Row], plots: Sequence[Plot]) -> str:
    """Formats the HTML page, with the plots inside."""
    found = tables(series)
    decisions = next(one for one in found if one.title == DECISIONS)  # first, because most readers come for it
    others = "".join(_html(one) for one in found if one is not decisions)
    images = [(html.escape(one.title), base64.b64encode(one.png).decode()) for one in plots]
    figures = "".join(f'<figure><img alt="{alt}" src="data:image/png;base64,{png}"></figure>' for alt, png in images)
    cited = "".join(f'<li id="source-{number}">{html.escape(one)}</li>' for number, one in enumerate(sources(), 1))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{TITLE}</h1><p>{html.escape(circumstances(series))}</p><p>{LEGEND}</p>"
        f'{_html(decisions)}<h2>Plots</h2><div class="plots">{figures}</div>{others}'
        f"<h2>Sources</h2><ol>{cited}</ol></body></html>\n"
    )


def markdown(series: Series[Row], plots: Sequence[Plot]) -> str:
    """Formats the same in Markdown, with links to the plots' files."""
    lines = [f"# {TITLE}", "", circumstances(series), "", LEGEND, ""]
    for table in tables(series):
        cells = markdown_table(table.heads, [[_marked(one) for one in row] for row in table.rows])
        lines += [f"## {table.title}", "", table.note, "", cells, ""]
    images = [f"![{one.title}]({one.name})" for one in plots]
    return "\n".join(
        [*lines, *images, "", "## Sources", "", *(f"{n}. {one}" for n, one in enumerate(sources(), 1)), ""]
    )


def _html(table: Table) -> str:
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in table.heads)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return (
        f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(cell: Cell) -> str:
    text = html.escape(cell.text)
    if cell.kind == "published" and cell.text:
        link = f'<a href="#source-{cell.source}">{cell.source}</a>' if cell.source else ""
        text = f"<i>{text}</i><sup>†{link}</sup>"
    return f'<td class="{cell.kind}">{text}</td>'


def _marked(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|")
    if cell.kind == "published" and text:
        return f"*{text}*&nbsp;†{cell.source or ''}"
    return f"**{text}**" if cell.kind in ("good", "bad") else text
