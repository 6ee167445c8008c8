"""Outputs on the pages: viewers and pictures as files, numbered captions, named images, light pages, and the book on paper."""

import base64
import html
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from bs4 import BeautifulSoup
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "book" / "_build" / "html"
PAGE_BUDGET = 1_500_000  # bytes of HTML; viewers, pictures and shared scripts are files of their own
sys.path[:0] = [str(ROOT / "book" / "_ext"), str(ROOT / "book")]

import print_book  # noqa: E402
from figure_numbers import chapter_number, numbered, unnamed_images  # noqa: E402
from outputs_as_files import attributes, outputs_as_files, start_tag  # noqa: E402


def picture_bytes(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(data, "WEBP")
    return data.getvalue()


def data_url(content: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def moved(body: str) -> tuple[str, dict[str, bytes]]:
    """A body after the move, and what its files hold by address."""
    files = {}

    def keep(folder: str, suffix: str, content: bytes) -> str:
        address = f"../{folder}/{len(files)}.{suffix}"
        files[address] = content
        return address

    def size_of(address: str):
        return Image.open(io.BytesIO(files[address])).size if address.endswith("webp") else None

    return outputs_as_files(body, keep, size_of), files


def test_a_viewer_becomes_a_file_and_its_frame_keeps_what_it_had():
    page = '<!doctype html><p title="a &quot;b&quot;">x &lt; y & z</p><script>const a = "</p>" && 1;</script>'
    title = html.escape('The "mug" > all', quote=True)
    body, files = moved(
        f'<figure><iframe class="v" sandbox="allow-scripts" title="{title}" srcdoc="{html.escape(page)}"></iframe>'
    )
    (address,) = files
    assert address.startswith("../_static/viewers/") and files[address].decode() == page
    frame = BeautifulSoup(body, "html.parser").iframe
    assert frame.attrs == {
        "class": ["v"], "sandbox": ["allow-scripts"], "title": 'The "mug" > all', "loading": "lazy", "src": address
    }  # fmt: skip


def test_pictures_become_files_of_the_same_bytes_with_their_size():
    one, two = picture_bytes(30, 20), picture_bytes(8, 9)
    text = (
        f'<img alt="first" src="{data_url(one)}"><img alt="second" src=\'{data_url(two)}\' style="width:4em">'
        f"<style>i{{background:url({data_url(two)})}}</style>"
        f'<script>const kept = "{data_url(one)}", tag = "<img src=a>";</script>'
    )
    body, files = moved(text)
    assert sorted(files.values()) == sorted([one, two, two])
    first, second = BeautifulSoup(body, "html.parser").find_all("img")
    assert (first["width"], first["height"], second["width"], second["height"]) == ("30", "20", "8", "9")
    assert files[first["src"]] == one and files[second["src"]] == two and second["style"] == "width:4em"
    assert "loading" not in first.attrs and second["loading"] == "lazy"
    assert body.endswith(text[text.index("<script>") :]) and "data:image" not in body[: body.index("<script>")]
    assert moved_again(body, files) == body


def moved_again(body: str, files: dict[str, bytes]) -> str:
    size_of = lambda address: Image.open(io.BytesIO(files[address])).size
    return outputs_as_files(body, lambda *_: pytest.fail("nothing is left to move"), size_of)


def test_data_of_a_figure_become_a_script_that_says_the_same():
    figure = '{"data":[{"text":"<\\/p> & \\u2028"}]}'
    body, files = moved(f'<div class="plotly-lazy"><script type="application/json" class="plotly-spec">{figure}</script></div>')
    ((address, content),) = files.items()
    script = BeautifulSoup(body, "html.parser").script
    assert script["data-file"] == address and not script.string
    assert content.decode() == f'(window.plotlySpecs ??= {{}})["{script["data-name"]}"] = {figure};'


def test_given_sizes_stay():
    body, _ = moved(f'<img alt="x" width="268" src="{data_url(picture_bytes(30, 20))}">')
    image = BeautifulSoup(body, "html.parser").img
    assert image["width"] == "268" and "height" not in image.attrs


@pytest.mark.parametrize("values", [{"alt": 'a "b" <c> & d', "src": "x?y=1&z=2"}, {"hidden": "", "title": "it's"}, {}])
def test_attributes_round_trip(values):
    assert attributes(start_tag("img", values)) == values


def test_captions_are_numbered_in_order_by_kind():
    picture, table = '<img alt="a" src="a.png">', "<table><tr><td>1</td></tr></table>"
    caption = lambda text: f'<p class="caption">{text}</p>'
    body = numbered(
        f"{caption('of nothing')}{picture}{caption('one')}{table}{caption('two')}<h2>x</h2>{table}{picture}{caption('three')}"
        f"<figure>{picture}<figcaption>four</figcaption></figure>{table}<h2>y</h2>{caption('of nothing')}"
        f"<script>'<img>'</script><svg><image/></svg>{caption('of nothing')}"
        "<figure><canvas></canvas><figcaption>live</figcaption></figure>",
        "7",
    )
    found = [node.get_text() for node in BeautifulSoup(body, "html.parser").select("[id]")]
    assert found == ["Figure\xa07.1. one#", "Table\xa07.1. two#", "Figure\xa07.2. three#", "Figure\xa07.3. four#"]
    links = BeautifulSoup(body, "html.parser").select("a.headerlink")
    assert [link["href"] for link in links] == ["#fig-7-1", "#tab-7-1", "#fig-7-2", "#fig-7-3"]
    assert all(link.parent["id"] == link["href"][1:] for link in links)


def test_the_chapter_is_the_number_of_the_file():
    assert [chapter_number(page) for page in ("notebooks/02_zeroverse", "notebooks/12_dataset", "intro")] == ["2", "12", ""]
    assert 'id="fig-1"' in numbered('<img alt="a" src="b"><p class="caption">c</p>', "")


def test_images_that_nobody_could_name_are_found():
    named = (
        '<img alt="A mug" src="a.png"><img alt="" role="presentation" src="b.png"><iframe title="A mug" src="c.html"></iframe>'
    )
    assert unnamed_images(named) == []
    unnamed = '<img src="1.png"><img alt="" src="2.png"><img alt="../_images/3.png" src="../_images/3.png"><iframe src="4.html">'
    assert unnamed_images(unnamed) == ["1.png", "2.png", "../_images/3.png", "4.html"]


def test_an_image_without_alt_fails_the_build(tmp_path):
    (tmp_path / "conf.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['outputs_as_files', 'figure_numbers']\nhtml_static_path = ['assets']\n"
    )
    (tmp_path / "assets").mkdir()
    for name in ("outputs.css", "viewer_theme.js"):
        shutil.copy(ROOT / "book" / "assets" / name, tmp_path / "assets")
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E", str(tmp_path), str(tmp_path / "site")]
    (tmp_path / "index.rst").write_text("Title\n=====\n\n.. image:: a.png\n   :alt: A red card\n")
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    image = BeautifulSoup((tmp_path / "site" / "index.html").read_text(), "html.parser").select_one("img")
    assert (image["alt"], image["width"], image["height"]) == ("A red card", "30", "20")
    (tmp_path / "index.rst").write_text("Title\n=====\n\n.. image:: a.png\n")
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode != 0 and "_images/a.png has no text alternative" in done.stderr


# ---- the built site -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pages(site) -> dict[str, BeautifulSoup]:
    """Every page of the site by its path, without the texts of scripts."""
    found = [path for path in SITE.rglob("*.html") if not path.relative_to(SITE).parts[0].startswith("_")]
    plain = lambda path: re.sub(r"(?s)(<script\b[^>]*>).*?</script>", r"\1</script>", path.read_text(encoding="utf-8"))
    return {path.relative_to(SITE).as_posix(): BeautifulSoup(plain(path), "html.parser") for path in sorted(found)}


def test_pages_keep_their_budget(pages):
    sizes = {page: (SITE / page).stat().st_size for page in pages}
    assert not {page: size for page, size in sizes.items() if size > PAGE_BUDGET}


def test_nothing_large_is_left_inside_a_page(pages):
    for page, soup in pages.items():
        assert not soup.select("iframe[srcdoc]"), page
        assert not [tag for tag in soup.select("article img, article iframe") if tag["src"].startswith("data:")], page


def test_every_picture_and_viewer_is_there_and_has_its_room(pages):
    for page, soup in pages.items():
        for tag in soup.select("article img, article iframe"):
            if not urlsplit(tag["src"]).scheme:
                assert ((SITE / page).parent / unquote(urlsplit(tag["src"]).path)).is_file(), (page, tag["src"])
            if tag.name == "img" and not tag["src"].endswith(".svg") and not urlsplit(tag["src"]).scheme:
                assert tag.get("width") or tag.get("height"), (page, tag["src"])


def test_everything_interactive_has_a_still_picture(pages):
    frames = [(page, frame) for page, soup in pages.items() for frame in soup.select("article .viewer-frame iframe")]
    targets = [(page, target) for page, soup in pages.items() for target in soup.select(".plotly-target")]
    assert len(frames) >= 6 and len(targets) >= 6
    for page, frame in frames:
        poster = frame.parent.select_one("img.viewer-poster")
        assert poster and poster["alt"] == frame["title"], page
    for page, target in targets:
        poster = target.parent.select_one(".plotly-poster img")
        assert poster and poster["alt"], page
        assert target.has_attr("hidden"), page  # until a script draws it


def test_captions_have_numbers_without_gaps(pages):
    for page, soup in pages.items():
        anchors = [
            node["id"] for node in soup.select("article [id^=fig-], article [id^=tab-]") if re.search(r"-\d+$", node["id"])
        ]
        assert len(anchors) == len(set(anchors)), page
        for kind in ("fig", "tab"):
            counts = [int(anchor.rsplit("-", 1)[1]) for anchor in anchors if anchor.startswith(kind)]
            assert counts == list(range(1, len(counts) + 1)), (page, counts)
    assert "Figure\xa02.1." in pages["notebooks/02_zeroverse.html"].select_one("#fig-2-1").get_text()


# ---- on paper -----------------------------------------------------------------------------------------------------


def test_the_book_on_one_page_is_whole(pages):
    chapters = print_book.chapters(ROOT / "book" / "_toc.yml")
    soup = BeautifulSoup(print_book.whole_book(chapters, SITE), "html.parser")
    articles = soup.select("article.chapter")
    assert [article["id"] for article in articles] == [link["href"][1:] for link in soup.select(".contents a")]
    assert [a.h1.get_text() for a in articles] == [link.span.get_text() for link in soup.select(".contents a")]
    known = [node["id"] for node in soup.find_all(id=True)]
    doubled = {name for name in known if known.count(name) > 1 and not name.startswith("lz")}
    assert not doubled
    dead = {link["href"] for link in soup.select('a[href^="#"]')} - {f"#{name}" for name in known}
    assert not dead, sorted(dead)[:5]
    assert not [link["href"] for link in soup.find_all("a", href=True) if not re.match(r"#|https?://|mailto:", link["href"])]
    assert not soup.select("article iframe, article script, article button, details:not([open])")
    for image in soup.find_all("img"):
        if not urlsplit(image["src"]).scheme:
            assert (SITE.parent / "print" / urldefrag(image["src"])[0]).resolve().is_file(), image["src"]


def test_page_numbers_are_read_from_the_tree_of_pages():
    pdf = (
        b"%PDF-1.4\n1 0 obj\n<</Type /Catalog\n/Pages 2 0 R\n/Dests 9 0 R>>\nendobj\n"
        b"2 0 obj\n<</Type /Pages\n/Kids [3 0 R 6 0 R]>>\nendobj\n3 0 obj\n<</Type /Pages\n/Kids [5 0 R 4 0 R]>>\nendobj\n"
        b"4 0 obj\n<</Type /Page>>\nendobj\n5 0 obj\n<</Type /Page>>\nendobj\n"
        b"6 0 obj\n<</Type /Page>>\nstream\n7 0 obj /Kids [1 0 R] endobj\nendstream\nendobj\n"
        b"9 0 obj\n<</page-0 [5 0 R /XYZ 0 1 0]\n/page-1 [6 0 R /XYZ 0 1 0]\n/page-2 [4 0 R /XYZ 0 1 0]>>\nendobj\n"
    )
    assert print_book.page_numbers(pdf) == {"page-0": "1", "page-2": "2", "page-1": "3"}


def small_book(folder: Path, image: str = "a.png") -> dict[str, Path]:
    """A site of two pages, of which the second fills three sheets."""
    site = folder / "html"
    site.mkdir()
    Image.new("RGB", (30, 20)).save(site / "a.png")
    (folder / "toc.yml").write_text(
        "root: one\nparts:\n  - caption: Rest\n    chapters:\n      - file: two\n      - file: three\n"
    )
    for name, body in (
        ("one", f'<img alt="a" src="{image}">'),
        ("two", "<p>line</p>" * 150),
        ("three", '<a href="two.html">x</a>'),
    ):
        (site / f"{name}.html").write_text(f"<html><head></head><body><article><h1>{name}</h1>{body}</article></body></html>")
    return {"pdf": folder / "book.pdf", "whole": folder / "print" / "index.html", "site": site, "toc": folder / "toc.yml"}


@pytest.mark.browser
def test_contents_name_the_pages_on_which_chapters_start(chromium, tmp_path):
    places = small_book(tmp_path)
    numbers = print_book.page_numbers(print_book.print_book(**places).read_bytes())
    starts = [int(numbers[f"page-{k}"]) for k in range(3)]
    assert starts[:2] == [3, 4] and starts[2] >= 6  # after the title and the contents
    (tmp_path / "other").mkdir()
    with pytest.raises(print_book.PrintError, match="1 pictures did not load .*missing.png"):
        print_book.print_book(**small_book(tmp_path / "other", image="missing.png"))


def test_without_a_browser_one_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(print_book.PrintError, match="No Chromium or Chrome was found.*apt install chromium"):
        print_book.print_book(**small_book(tmp_path))
