"""The MatSynth downloader against a local server that answers as the hub does: pages, redirects, ranges, failures."""

import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite import download
from lrmzero_lite.data import matsynth
from lrmzero_lite.errors import InputError
from lrmzero_lite.zeroverse.texture_folder import find_materials, load_material

from .http_host import HttpHost

pytest.importorskip("pyarrow", reason="reading MatSynth's files needs pyarrow (pip install 'lrmzero-lite[matsynth]')")
COLORS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40), (40, 200, 200)]


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def shard(materials) -> bytes:
    """A parquet file with MatSynth's columns: materials of 32 px, normals tilted up (+y), 16-bit height."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    flat = lambda *rgb: np.full((32, 32, 3), rgb, np.uint8)
    rows = [
        {
            "name": f"acg tiles/{number}",
            "category": number % 13,
            "metadata": {"license": "CC0", "authors": ["someone"], "physical_size": 1.5},
            "basecolor": png(flat(*COLORS[number])),
            "diffuse": png(flat(0, 0, 0)),
            "height": png(np.full((32, 32), 40000, np.uint16)),
            "normal": png(flat(128, 178, 240)),
            "roughness": png(np.full((32, 32), 128, np.uint8)),
            "metallic": png(np.full((16, 16), 255, np.uint8)),
        }
        for number in materials
    ]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, compression="none")
    return out.getvalue()


class Hub:
    """The hub's paths on a local port; `trouble` is a list of what goes wrong with the next answers for file contents."""

    def __init__(self):
        self.files = {"data/test-00000-of-00001.parquet": b"-"}
        self.files |= {f"data/train-0000{i}-of-00002.parquet": shard(m) for i, m in enumerate(([0, 1, 2], [3, 4]))}
        self.listed = {path: hashlib.sha256(data).hexdigest() for path, data in self.files.items()}
        self.trouble: list[str] = []
        self.asked: list[tuple[str, str | None]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                hub.asked.append((self.path, self.headers.get("Range")))
                prefix = f"/datasets/{matsynth.REPOSITORY}/resolve/main/"
                if self.path.startswith(f"/api/datasets/{matsynth.REPOSITORY}/tree/main/data"):
                    self.list()
                elif self.path.startswith(prefix) and self.path.removeprefix(prefix) in hub.files:
                    self.send_response(302)
                    self.send_header("Location", "/cdn/" + self.path.removeprefix(prefix))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif self.path.startswith("/cdn/"):
                    self.content(hub.files[self.path.removeprefix("/cdn/")])
                else:
                    self.send_error(404)

            def list(self):
                pages = [sorted(hub.files)[:2], sorted(hub.files)[2:]]  # in two pages
                page = int("cursor=2" in self.path)
                entries = [
                    {"type": "file", "path": p, "size": 1, "lfs": {"oid": hub.listed[p], "size": len(hub.files[p])}}
                    for p in pages[page]
                ]
                body = json.dumps(entries).encode()
                self.send_response(200)
                if page == 0:
                    self.send_header("Link", f'<{hub.url}{self.path}?cursor=2>; rel="next"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def content(self, data):
                what = hub.trouble.pop(0) if hub.trouble else ""
                if what.isdigit():
                    self.send_response(int(what))
                    self.send_header("Retry-After", "0")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
                start = 0 if what == "no ranges" else start
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                if what == "cut":
                    self.wfile.write(data[start : start + (len(data) - start) // 2])
                    self.connection.close()
                elif what == "damaged":
                    self.wfile.write(data[start:-9] + bytes(9))
                else:
                    self.wfile.write(data[start:])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    hub = Hub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def fetch_all(hub, dest, count=5, **options):
    return matsynth.download_matsynth(dest, count, size=8, hub=hub.url, progress=False, **options)


def test_materials_arrive_as_folders_that_the_texture_folder_reads(hub, tmp_path):
    folders = fetch_all(hub, tmp_path)
    assert [f.name for f in folders] == [f"acg_tiles_{i}" for i in range(5)]
    assert folders[0].parent.name == "ceramic" and folders[4].parent.name == "leather"
    assert json.loads((folders[0] / "metadata.json").read_text())["license"] == "CC0"
    assert not list(tmp_path.rglob("*.parquet"))
    sources = find_materials(str(tmp_path))
    assert len(sources) == 5
    for folder, color in zip(folders, COLORS):
        source = next(s for s in sources if s.color.parent == folder)
        material = load_material(source, 8, finish=True)
        assert (material.color == color).all()
        y, rough, metal = (int(material.finish[0, 0, c]) for c in (1, 2, 3))
        tilt = np.array([128, 178, 240]) / 127.5 - 1
        assert abs(y - (128 + 127 * tilt[1] / np.linalg.norm(tilt))) <= 2  # up stays up; resized, stored and read again
        assert (rough, metal) == (128, 255)


def test_shards_are_listed_over_pages_and_by_split(hub):
    assert [s.path for s in matsynth.list_shards("train", hub=hub.url)] == sorted(hub.files)[1:]
    assert [s.size for s in matsynth.list_shards("test", hub=hub.url)] == [1]


def test_a_list_that_breaks_off_or_never_ends(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    host, path = HttpHost(), f"/api/datasets/{matsynth.REPOSITORY}/tree/main/data"
    entries = json.dumps([{"path": "data/train-0.parquet", "size": 7}]).encode()
    host.lists[path], host.trouble[path] = (lambda query: (200, {}, entries)), ["cut"]
    assert matsynth.list_shards("train", hub=host.url) == [matsynth.Shard("data/train-0.parquet", 7, None)]
    host.lists[path] = lambda query: (200, {"Link": f'<{path}>; rel="next"'}, entries)
    with pytest.raises(InputError, match="is named as the page after itself"):
        matsynth.list_shards("train", hub=host.url)
    host.lists[path] = lambda query: (200, {}, b'{"error": "gated"}')
    with pytest.raises(InputError, match="did not answer with a list of files"):
        matsynth.list_shards("train", hub=host.url)
    host.close()


def test_a_broken_connection_is_continued_where_it_broke(hub, tmp_path):
    hub.trouble = ["cut", "503", "cut"]
    fetch_all(hub, tmp_path, 3)
    size = len(hub.files["data/train-00000-of-00002.parquet"])
    ranges = [r for path, r in hub.asked if path.startswith("/cdn/")]
    assert ranges[0] is None and set(ranges[1:3]) == {f"bytes={size // 2}-"}  # the redirect carries the range
    assert int(ranges[3].removeprefix("bytes=").rstrip("-")) > size // 2


def test_a_server_without_ranges_starts_over(hub, tmp_path):
    hub.trouble = ["cut", "no ranges"]
    assert len(fetch_all(hub, tmp_path, 3)) == 3


def test_damage_is_noticed_and_fetched_once_more(hub, tmp_path):
    hub.trouble = ["damaged"]
    assert len(fetch_all(hub, tmp_path, 3)) == 3
    hub.trouble = ["damaged", "damaged"]
    with pytest.raises(InputError, match="another SHA-256"):
        fetch_all(hub, tmp_path, 5)
    assert not list(tmp_path.rglob("train-00001*"))


def test_a_second_run_fetches_nothing_and_more_materials_only_what_is_missing(hub, tmp_path):
    first = fetch_all(hub, tmp_path, 2)
    stamps = {f: f.stat().st_mtime_ns for f in first}
    hub.asked.clear()
    assert fetch_all(hub, tmp_path, 2) == first and not hub.asked
    assert len(fetch_all(hub, tmp_path, 5)) == 5
    assert {f: f.stat().st_mtime_ns for f in first} == stamps
    assert sum(path.startswith("/cdn/") for path, _ in hub.asked) == 1  # the first file had been kept


def test_the_rate_is_kept(hub, tmp_path):
    import time

    path = "data/train-00000-of-00002.parquet"
    size, start = len(hub.files[path]), time.monotonic()
    options = {"size": size, "checksum": hub.listed[path], "rate": size / 0.3e6}
    download.download(f"{hub.url}/cdn/{path}", tmp_path / "a.parquet", **options)
    assert time.monotonic() - start > 0.29


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        (lambda hub: hub.trouble.extend(["403"]), {}, "HTTP 403"),
        (lambda hub: hub.trouble.extend(["503"] * 30), {}, "HTTP 503.*5 attempts"),
        (lambda hub: hub.files.pop("data/train-00001-of-00002.parquet"), {"count": 5}, "holds 3 materials, fewer than the 5"),
        (lambda hub: None, {"count": 0}, "count = 0"),
        (lambda hub: None, {"revision": "gone"}, "HTTP 404"),
        (lambda hub: hub.files.update({"data/train-00000-of-00002.parquet": b"PAR1 no"}), {}, "SHA-256"),
    ],
)
def test_failures_say_what_happened(hub, tmp_path, prepare, arguments, words):
    prepare(hub)
    with pytest.raises(InputError, match=words):
        fetch_all(hub, tmp_path, **({"count": 3} | arguments))
    assert not list(tmp_path.rglob("basecolor.png")) or arguments.get("count") == 5


def test_a_full_disk_is_named_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(InputError, match="0.0 GB free"):
        fetch_all(hub, tmp_path)
    assert not any(path.startswith("/cdn/") for path, _ in hub.asked)


def test_no_server_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(InputError, match="cannot be reached"):
        matsynth.download_matsynth(tmp_path, 1, hub="http://127.0.0.1:9", progress=False)


def test_another_size_needs_another_folder(hub, tmp_path):
    fetch_all(hub, tmp_path, 1)
    with pytest.raises(InputError, match="size 8"):
        matsynth.download_matsynth(tmp_path, 1, size=16, hub=hub.url)


def test_parquet_files_are_read_in_place(hub, tmp_path):
    (tmp_path / "train-0.parquet").write_bytes(hub.files["data/train-00001-of-00002.parquet"])
    sources = find_materials(str(tmp_path))
    assert [s.row for s in sources] == [0, 1]
    materials = [load_material(s, 8, finish=True) for s in sources]
    assert [tuple(m.color[0, 0]) for m in materials] == COLORS[3:]
    assert materials[0].finish[0, 0, 2] == 128
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    find_materials.cache_clear()
    with pytest.raises(InputError, match="not a readable parquet"):
        find_materials(str(tmp_path))
