"""What every chapter has: its sections, its rungs, and figures with a text alternative, a caption and where they come from."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.md"))
SECTIONS = ("## Setup", "### What surprised us", "## Exercises", "## Run it at another rung", "## See also")
RUNGS = ("smoke", "lite", "workstation", "paper")
PLOTLY = "application/vnd.plotly.v1+json"
PICTURES = (PLOTLY, "image/png", "image/svg+xml", "image/jpeg", "image/webp")
DRAWN = re.compile(r"<(?:img|iframe|canvas|svg)\b[^>]*>")
NAMED = re.compile(r"""\b(?:alt|title|aria-label)=["'][^"']""")
CAPTION = re.compile(r"""<p class=["']caption["']>\s*\S""")
PROVENANCE = re.compile(r"""<p class=["']provenance["']>\s*\S""")

pytestmark = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def chapter(source: Path) -> nbformat.NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), 4)


def html_of(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in cell.get("outputs", ()))


def is_figure(output: nbformat.NotebookNode) -> bool:
    data = output.get("data", {})
    return any(kind in data for kind in PICTURES) or bool(DRAWN.search(data.get("text/html", "")))


def is_named(output: nbformat.NotebookNode, cell: nbformat.NotebookNode) -> bool:
    """Whether a figure says in words what it shows."""
    if PLOTLY in output.data:
        meta = output.data[PLOTLY].get("layout", {}).get("meta") or {}
        return bool(output.metadata.get(PLOTLY, {}).get("alt") or meta.get("alt"))
    drawn = DRAWN.findall(text := output.data.get("text/html", ""))
    if drawn:
        labelled = re.search(r'<figure\b[^>]* aria-label="[^"]', text)  # its drawings are parts of one named figure
        bare = [tag for tag in drawn if not NAMED.search(tag) and 'alt=""' not in tag and "aria-hidden" not in tag]
        return not bare or bool(labelled and all(tag.startswith("<svg") for tag in bare))
    return bool(cell.metadata.get("mystnb", {}).get("image", {}).get("alt"))


def test_has_its_sections(source):
    text = source.read_text()
    missing = [name for name in SECTIONS if not re.search(rf"^##?#? {name.lstrip('# ')}$", text, re.MULTILINE)]
    assert not missing and "**What you will learn**" in text and "parameters]" in text


def test_says_how_to_run_it_at_every_rung(source):
    table = source.read_text().split("## Run it at another rung")[1].split("## See also")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    assert {"time, memory", "expect"} <= set(rows[0])
    time = rows[0].index("time, memory")
    assert [row[0] for row in rows[2:] if row[time] == f"{{took}}`{row[0]}`" and row[0] in RUNGS[:2]] == ["smoke", "lite"]
    assert {row[0] for row in rows[2:] if row[time] == f"{{took}}`{row[0]}`"} == set(RUNGS)


def test_figures_say_what_they_show_and_where_they_come_from(source):
    cells, wrong = chapter(source).cells, []
    for index, cell in enumerate(cells):
        figures = [output for output in cell.get("outputs", ()) if is_figure(output)]
        if not figures:
            continue
        after = cells[index + 1 :]
        words = next((c.source.strip() for c in after if c.cell_type == "markdown" or any(map(is_figure, c.outputs))), "")
        end = next(
            (i for i, c in enumerate(after) if c.cell_type == "markdown" and re.search(r"^#", c.source, re.MULTILINE)), None
        )
        below = "".join(html_of(c) for c in (cell, *after[:end]) if c.cell_type == "code")
        wrong += [f"cell {index} has no caption below it"] * (not CAPTION.match(words))
        wrong += [f"cell {index} does not say where it comes from"] * (not PROVENANCE.search(below))
        wrong += [f"cell {index} has no text alternative"] * (not all(is_named(output, cell) for output in figures))
    assert not wrong


def test_records_time_and_memory(source):
    about = chapter(source).metadata.lrmzero
    assert about.rung == "lite" and about.peak_mb > 50
    assert about.smoke.seconds > 0 and about.smoke.peak_mb > 50 and about.smoke.machine
