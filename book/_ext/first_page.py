"""What the first page computes when the site is built: its headline, our verdicts on the paper's claims, a card for each chapter.

`{headline-sentence}` and `{eight-views}` are sentences from book/results, `{first-buttons}` is what to do next, `{claims-told}`
what the grids say of the claims, by chapter. A line of `{chapter-cards}` is NOTEBOOK NUMBER TEXT: a chapter, which of its
pictures stands on its card, and what happens there.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from typing import Any

import launch
from chapter_uses import title_of
from docutils import nodes
from PIL import Image, ImageOps
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parent.parent))  # book/headline.py
import headline  # noqa: E402

CARD = (480, 240)  # pixels; twice what is shown
PICTURES = ("image/png", "image/webp", "image/jpeg")


class HeadlineSentence(SphinxDirective):
    """Our result in one sentence, with intervals."""

    def run(self) -> list[nodes.Node]:
        return [nodes.container("", *self.parse_text_to_nodes(headline.sentence()), classes=["headline"])]


class EightViews(SphinxDirective):
    """Whether the visual hull is ahead of the networks from eight views."""

    def run(self) -> list[nodes.Node]:
        return [nodes.container("", *self.parse_text_to_nodes(headline.eight_views()), classes=["computed"])]


class FirstButtons(SphinxDirective):
    """What to do first: the lab, the quickstart, and that in Colab at the released version."""

    def run(self) -> list[nodes.Node]:
        quickstart = "notebooks/01_quickstart"
        colab = launch.notebook_address(quickstart).replace("https://github.com/", "https://colab.research.google.com/github/")
        links = f"[Try it in your browser](lab.md)\n[Quickstart]({quickstart}.ipynb)\n[Open in Colab]({colab})"
        return [nodes.container("", *self.parse_text_to_nodes(links), classes=["first-buttons"])]


class ClaimsTold(SphinxDirective):
    """How many claims of each chapter got which verdict, and those that the experiments decided."""

    def run(self) -> list[nodes.Node]:
        from lrmzero_lite.experiments import claims  # loads torch: only the page that needs it pays for it
        from lrmzero_lite.experiments.verdicts import VERDICTS, judge_claims

        results = Path(self.env.srcdir, "results", "grids")
        for path in results.rglob("*.csv"):
            self.env.note_dependency(str(path))
        topics = {
            "[Augmentations](notebooks/05_augmentations.ipynb)": claims.AUGMENTATIONS,
            "[Stability](notebooks/06_stability.ipynb)": claims.STABILITY,
            "[Scaling](notebooks/08_scaling.ipynb)": claims.SCALING,
            "[Synthetic or real](notebooks/08_scaling.ipynb)": claims.SYNTHETIC_OR_REAL,
            "[Order of the data](notebooks/05_augmentations.ipynb)": claims.STAGED,
            "Other uses": claims.ELSEWHERE,
        }
        judged = {topic: judge_claims(results, claims=group) for topic, group in topics.items()}
        lines = [f"| claims on | {' | '.join(VERDICTS)} |", "|---" * (len(VERDICTS) + 1) + "|"]
        for topic, group in judged.items():
            counts = ([one.verdict for one in group].count(verdict) for verdict in VERDICTS)
            lines.append(f"| {topic} | {' | '.join(str(count or '–') for count in counts)} |")
        blocks = ["\n".join(lines)]
        for verdict, title in ((VERDICTS[0], "Holds at our scale"), (VERDICTS[1], "Does not hold at our scale")):
            told = [told_of(one) for group in judged.values() for one in group if one.verdict == verdict]
            blocks.append(f"**{title}**\n\n" + "\n".join(f"- {line}" for line in told) if told else "")
        return [nodes.container("", *self.parse_text_to_nodes("\n\n".join(blocks)), classes=["claims-told"])]


def told_of(one: Any) -> str:
    """A claim with its source and our measure."""
    return f"{one.claim.text} ({one.claim.source}) <span class='provenance'>ours: {one.ours}</span>"


class ChapterCards(SphinxDirective):
    """A grid of cards with a picture of each chapter."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        cards = []
        for line in self.content:
            name, number, text = line.split(maxsplit=2)
            notebook = Path(self.env.srcdir, "notebooks", f"{name}.ipynb")
            self.env.note_dependency(str(notebook))
            # below the book, wherever the output goes: the page names it from the book's root
            picture = Path(self.env.srcdir, "_build", "chapter_cards", f"{name}.webp")
            picture.parent.mkdir(parents=True, exist_ok=True)
            image, alt = picture_of(notebook, int(number))
            ImageOps.fit(image, CARD).save(picture, quality=80)
            cards += [f":::{{grid-item-card}} {title_of(notebook)}", f":link: /notebooks/{name}", ":link-type: doc"]
            cards += [
                f":img-top: /{picture.relative_to(self.env.srcdir).as_posix()}",
                f":img-alt: {json.dumps(alt)}",
                "",
                text,
                ":::",
            ]
        grid = "\n".join(["::::{grid} 1 2 2 3", ":gutter: 3", ":class-container: chapter-cards no-terms", "", *cards, "::::"])
        return self.parse_text_to_nodes(grid)


def picture_of(notebook: Path, number: int) -> tuple[Image.Image, str]:
    """A picture among a notebook's outputs, on white, with its text alternative. Raises ValueError where either is missing."""
    of_cell = lambda cell: cell["metadata"].get("mystnb", {}).get("image", {}).get("alt")  # noqa: E731
    found = [
        (output["data"][mime], output["metadata"].get(mime, {}).get("alt") or of_cell(cell))
        for cell in json.loads(notebook.read_text())["cells"]
        for output in cell.get("outputs", ())
        for mime in PICTURES
        if mime in output.get("data", {})
    ]
    if number >= len(found):
        raise ValueError(f"{notebook.name} has {len(found)} pictures, none with number {number}; correct its line in intro.md.")
    data, alt = found[number]
    if not alt:
        raise ValueError(f"Picture {number} of {notebook.name} has no text alternative; give its cell mystnb: image: alt.")
    image = Image.open(io.BytesIO(base64.b64decode("".join(data)))).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"), alt


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("headline-sentence", HeadlineSentence)
    app.add_directive("eight-views", EightViews)
    app.add_directive("first-buttons", FirstButtons)
    app.add_directive("claims-told", ClaimsTold)
    app.add_directive("chapter-cards", ChapterCards)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
