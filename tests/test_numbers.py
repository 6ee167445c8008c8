"""No number typed by hand: results in the words of the built pages were computed, or a list says where they are from.

The scan reads the words of every article without code, outputs, and what files filled in (`{value}`, `{took}`, tables of runs).
It looks for numbers that read like results: with a unit of quality, time or size, beside a metric, "N times", "×N", "N of M".
Each one must be a fact of the paper (its number in book/results/paper.json, in a sentence that names the paper), or lie inside a
snippet of tests/typed_numbers.yaml, which gives its source, the code that says the same, or a reason.
"""

import html
import inspect
import json
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

import lrmzero_lite.evaluate.bootstrap
import lrmzero_lite.presets
import lrmzero_lite.viz

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

from headline import sentence  # noqa: E402

LIST = ROOT / "tests" / "typed_numbers.yaml"
FACTS = Path(os.environ.get("LRMZERO_SHARED", ROOT.parent / "shared")) / "paper" / "facts.md"
# Docstrings say what options mean, a bibliography has page numbers, and the changelog is history.
SKIPPED = (
    "_static/",
    "_sources/",
    "_images/",
    "_downloads/",
    "api/",
    "genindex",
    "search",
    "references",
    "index.html",
    "py-modindex",
)
NO_WORDS = [
    *("pre", "code", "script", "style", "svg", "math", "iframe", "noscript", "[hidden]", ".math", ".cell_input", ".cell_output"),
    *(".provenance", ".computed", "table.run-status", ".bibliography", ".citation", ".headerlink", ".output"),
]
BLOCKS = ["p", "li", "td", "th", "h1", "h2", "h3", "h4", "dt", "dd", "figcaption", "caption", "summary"]
NUMBER = r"[-+−~]?\d[\d,]*(?:\.\d+)?(?:\s?[kKMG])?"
UNIT = (
    r"dB|%|percent|ms|s|sec|seconds?|min|minutes?|hours?|h|days?|[kKMGT]B|GiB|MiB|bytes|[GT]FLOPS?|TFLOP/s|"
    r"times|fold|million|billion|points"
)
RESULT = re.compile(
    rf"(?<![\w.,/]){NUMBER}\s?(?:{UNIT})(?![\w/])"
    rf"|(?<![\w.,/]){NUMBER}(?:×(?![\w(])| ×(?= [a-z]{{2,}}|[,.;)]|$))"  # not 3 × 3, 12 × w
    rf"|(?<!\d)(?<!\d\s)(?<!\b\w\s)×\s?{NUMBER}"  # not 5 × 5, w × 5
    rf"|(?<![\w.,/]){NUMBER} (?:of|out of) (?:the )?\d[\d,]*(?![\w.])"
    rf"|\b(?:PSNR|SSIM|LPIPS|FLIP|IoU|MAE|error|score)s?\b[^.;()]{{0,24}}?(?<![\w.,/]){NUMBER}(?![\w°])"
    rf"|(?<=^td: )[-+−]?\d+\.\d+"
)
CITES = re.compile(r"§|\bTab(?:\.|les?)|\bApp\.|\bpaper|LRM-Zero|GS-LRM|MegaSynth", re.IGNORECASE)


@dataclass(frozen=True)
class Typed:
    """A number in the text of a page: the page, the words that were found, and the block that they stand in."""

    page: str
    found: str
    block: str


def plain(text: str) -> str:
    """Text with single spaces, and none inside brackets or before a comma, where an element of the page began or ended."""
    text = " ".join(html.unescape(text).replace("\u00a0", " ").split())
    return re.sub(r"(?<=[(\[]) | (?=[)\].,;])", "", text)


def words(page: str) -> list[str]:
    """The blocks of text of a page (HTML) that somebody wrote."""
    soup = BeautifulSoup(page, "html.parser")
    article = soup.select_one("article.bd-article") or soup
    for element in article.select(", ".join(NO_WORDS)):
        element.replace_with(" ")
    told: dict[int, list[str]] = {}
    for text in article.find_all(string=True):
        block = text.find_parent(BLOCKS) or text.parent
        told.setdefault(id(block), ["td: " if block.name == "td" else ""]).append(text)
    return [block for parts in told.values() if (block := plain(" ".join(parts))) not in ("", "td:")]


def typed(page: str, blocks: list[str], allowed: list[str], paper: set[str]) -> list[Typed]:
    """Numbers that read like results and that neither a snippet nor a table of the paper accounts for."""
    found = []
    for block in blocks:
        free = block
        for snippet in allowed:
            free = free.replace(snippet, "…")
        for match in RESULT.finditer(free):
            numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", match[0])
            if not (CITES.search(block) and all(number in paper for number in numbers)):
                found.append(Typed(page, match[0], block))
    return found


@cache
def listed() -> list[dict[str, str]]:
    return yaml.safe_load(LIST.read_text())


def paper_numbers() -> set[str]:
    """Every number of the paper's tables, as it may be written."""
    text = json.dumps(json.loads((ROOT / "book" / "results" / "paper.json").read_text()))
    found = set(re.findall(r"\d+(?:\.\d+)?", text))
    return found | {f"{int(n):,}" for n in found if n.isdigit()} | {f"{float(n):.2f}" for n in found if "." in n}


def paper(table: str, resolution: int) -> float:
    """LRM-Zero's PSNR on GSO in a table of the paper."""
    rows = json.loads((ROOT / "book" / "results" / "paper.json").read_text())["tables"][table]["rows"]
    return next(r["cells"]["GSO"]["psnr"] for r in rows if (r["method"], r["resolution"]) == ("LRM-Zero", resolution))


def headline() -> list[str]:
    """The sentence and the table of results that book/headline.py writes (tests/test_readme.py holds the README to it)."""
    block = (ROOT / "README.md").read_text().split("<!-- results -->")[1].split("<!-- end of results -->")[0]
    cells = [sentence(), *(cell for line in block.splitlines() for cell in line.split("|"))]
    return [plain(re.sub(r"[*`]", "", cell)) for cell in cells if re.search(r"\d", cell)]


@pytest.fixture(scope="module")
def written(site) -> dict[str, list[str]]:
    """Every page of the site that somebody wrote, as blocks of words."""
    files = sorted(path for path in site.rglob("*.html") if not path.relative_to(site).as_posix().startswith(SKIPPED))
    return {path.relative_to(site).as_posix(): words(path.read_text()) for path in files}


def test_no_number_is_typed(written):
    allowed = sorted([plain(entry["text"]) for entry in listed()] + headline(), key=len)
    found = [one for page, blocks in written.items() for one in typed(page, blocks, allowed[::-1], paper_numbers())]
    told = "\n".join(f"{one.page}: {one.found!r} in: {one.block[:160]}" for one in found)
    assert not found, f"Let a run write these, show them by {{value}}, or say in {LIST.name} where they are from:\n{told}"


def test_the_list_is_in_use(written):
    text = {page: " ¶ ".join(blocks) for page, blocks in written.items()}
    stale = [entry["text"] for entry in listed() if not any(plain(entry["text"]) in page for page in text.values())]
    assert not stale, "no page says these any more; take them out of the list"


@pytest.mark.parametrize("entry", listed(), ids=lambda entry: entry["text"][:40])
def test_a_listed_number_is_accounted_for(entry):
    kinds = {"source", "code", "reason"} & set(entry)
    assert len(kinds) == 1 and entry[min(kinds)].strip() and RESULT.search(entry["text"])
    if "code" in entry:
        assert eval(entry["code"], {"inspect": inspect, "paper": paper, **vars(lrmzero_lite)}) is True, entry["code"]
    if "source" in entry:
        assert re.search(r"§|Tab\.|App\.|code|\[FL|\[ZV", entry["source"]), "name the section, table or file"


@pytest.mark.parametrize("entry", [e for e in listed() if "fact" in e], ids=lambda entry: entry["text"][:40])
def test_a_fact_of_the_paper_is_in_the_notes(entry):
    if not FACTS.exists():
        pytest.skip(f"{FACTS} is not on this machine (notes on the papers, never committed)")
    assert entry["fact"] in FACTS.read_text()


def test_the_scan_finds_what_somebody_typed():
    page = """<article class="bd-article"><p>On mugs it reaches 27.3 dB.</p>
    <ul><li>four times: 4 times<ul><li>12 of 20</li></ul>and 13 of 20</li></ul>
    <p class="caption">It took 14&nbsp;s, 2.1 GB.</p><table><tr><td>26.51</td></tr></table><p>PSNR of our network: 25.1</p>
    <p>The paper has 30.24 dB (Tab. 3).</p><p>The paper has 99.24 dB (Tab. 3).</p><p>seed 9, size 64 px, §4.1, 2.7 away</p>
    <p>×7 or a speed-up of × 8.5, 9× and 10 × as fast, but 3 × 3 pixels, 64×64, 12 × w and H × 4</p>
    <pre>31.5 dB</pre><div class="cell_output"><p>32.5 dB</p></div>
    <p>ran in <abbr class="computed" title="f: a.b">33.5 s</abbr>.</p></article>"""
    found = [one.found for one in typed("p", words(page), ["12 of 20"], {"30.24"})]
    expected = ["27.3 dB", "4 times", "13 of 20", "14 s", "2.1 GB", "26.51", "PSNR of our network: 25.1", "99.24 dB"]
    expected += ["×7", "× 8.5", "9×", "10 ×"]
    assert found == expected
