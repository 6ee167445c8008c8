"""Google Scanned Objects from a local host that answers as Gazebo Fuel does: pages, redirects, ranges, failures, bad zips."""

import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from PIL import Image

from lrmzero_lite import InputError, download
from lrmzero_lite.cli import main
from lrmzero_lite.data import find_objects, fuel, load_mesh
from lrmzero_lite.data.collection import draw, read_collection, verify_collection
from lrmzero_lite.data.fuel import download_gso, list_models, unpack_model

from .http_host import HttpHost, changed, until

NAMES = ["ACE_Mug", "Big Bus", "Don't_Panic", "SCHOOL_BUS", "Ünicorn"]
OBJ = "mtllib model.mtl\nv 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\n" + "".join(
    f"f {a}/1 {b}/2 {c}/3\n" for a, b, c in ((1, 3, 2), (1, 2, 4), (1, 4, 3), (2, 3, 4))
)


def color(name: str) -> tuple[int, int, int]:
    return sum(name.encode()) % 256, len(name) * 9, 77


def png(name: str, side: int = 256) -> bytes:
    """An image of the object's own colour, with noise in one channel: too irregular to be packed small."""
    pixels = np.full((side, side, 3), color(name), np.uint8)
    pixels[..., 2] = np.random.default_rng(len(name)).integers(0, 256, (side, side))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def scan(name: str, root: str = "", extra: dict[str, bytes] | None = None, without: str = "-") -> bytes:
    """An object as the hub zips it."""
    members = {
        "meshes/model.obj": OBJ.encode(),
        "meshes/model.mtl": b"newmtl m\nmap_Kd texture.png\n",  # it lies elsewhere
        "materials/textures/texture.png": png(name),
        "model.sdf": b"<sdf/>",
        "thumbnails/0.jpg": b"-",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in {**members, **(extra or {})}.items():
            if without not in path:
                archive.writestr(root + path, data)
    return out.getvalue()


class Fuel(HttpHost):
    """The hub's paths. linked: pages by Link header; otherwise the caller counts, and the page after the last is `end`."""

    def __init__(self, names=NAMES, linked=True, end="404", per_page=2):
        super().__init__(version=changed)
        self.names, self.linked, self.end, self.per_page = list(names), linked, end, per_page
        for name in names:
            self.files[f"/storage/{name}.zip"] = scan(name)
            self.moved[f"/1.0/GoogleResearch/models/{name}.zip"] = f"/storage/{fuel.quote(name)}.zip"
        self.lists["/1.0/models"] = self.page

    def zip_path(self, name):
        return f"/storage/{name}.zip"

    def page(self, query):
        assert query["q"] == "collections:Scanned Objects by Google Research"
        number = int(query["page"])
        shown = self.names[(number - 1) * self.per_page : number * self.per_page]
        if not shown and self.end == "again":
            shown = self.names[-self.per_page :]
        if not shown and self.end == "404":
            return 404, {}, b"{}"
        entries = [
            {"name": name, "owner": "GoogleResearch", "filesize": 1, "version": 2, "license_name": "CC BY 4.0"} for name in shown
        ]
        headers = {}
        if self.linked:
            links = ['</1.0/models?page=1>; rel="first"']
            if number * self.per_page < len(self.names):
                following = f"/1.0/models?page={number + 1}&per_page=100&q=collections:{fuel.quote(fuel.COLLECTION)}"
                links.insert(0, f'<{following}>; rel="next"')
            headers["Link"] = ", ".join(links)
        return 200, headers, b"" if not entries else json.dumps(entries).encode()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    made = []

    def make(*args, **kwargs):
        made.append(Fuel(*args, **kwargs))
        return made[-1]

    yield make
    for host in made:
        host.close()


def zips_asked(host):
    return [path for path in host.paths() if path.endswith(".zip") and path.startswith("/storage")]


@pytest.mark.parametrize(("linked", "end"), [(True, "404"), (False, "404"), (False, "empty"), (False, "again")])
def test_the_list_has_every_object_once_over_all_pages(hub, linked, end):
    host = hub(linked=linked, end=end)
    models = list_models(hub=host.url)
    assert [model.name for model in models] == sorted(NAMES)
    assert models[0] == fuel.Model("ACE_Mug", "2", "CC BY 4.0")
    assert len(host.asked) == (3 if linked else 4)


def test_a_list_that_never_ends_is_an_error(hub):
    host = hub()
    again = {"Link": f'</1.0/models?page=1&q=collections:{fuel.quote(fuel.COLLECTION)}>; rel="next"'}
    host.lists["/1.0/models"] = lambda query: (200, again, b'[{"name": "a"}]')
    with pytest.raises(InputError, match="promises more objects but repeats the same ones"):
        list_models(hub=host.url)
    assert len(host.asked) == 2


def test_objects_arrive_with_their_texture_and_load(hub, tmp_path, monkeypatch):
    host = hub()
    monkeypatch.setattr(fuel, "HUB", host.url)
    folders = download_gso(tmp_path / "gso", hub=host.url, progress=False)
    assert folders == [tmp_path / "gso" / name for name in sorted(NAMES)]
    refs = find_objects(tmp_path / "gso")
    assert [ref.name for ref in refs] == sorted(NAMES) and {ref.layout for ref in refs} == {"gso"}
    for ref in refs:
        mesh = load_mesh(ref.path)
        assert len(mesh.faces) == 4 and mesh.textures[0].shape == (256, 256, 3)
        assert (mesh.textures[0][..., :2] == color(ref.name)[:2]).all()
    assert verify_collection(tmp_path / "gso") == []
    entry = read_collection(tmp_path / "gso")["Big Bus"]
    assert entry.url.endswith("/GoogleResearch/models/Big%20Bus.zip") and entry.version == "2" and len(entry.files) == 5
    asked = len(host.asked)
    assert download_gso(tmp_path / "gso", hub=host.url, progress=False) == folders
    assert len(host.asked) == asked  # nothing is missing: nothing is asked
    (tmp_path / "gso/ACE_Mug/materials/textures/texture.png").unlink()
    download_gso(tmp_path / "gso", hub=host.url, progress=False)
    assert verify_collection(tmp_path / "gso") == [] and zips_asked(host)[-1] == "/storage/ACE_Mug.zip"


def test_a_draw_is_kept_while_the_hub_grows_and_more_is_added_to_it(hub, tmp_path):
    host = hub()
    three = download_gso(tmp_path, 3, seed=5, hub=host.url, progress=False)
    assert [path.name for path in three] == draw(NAMES, 3, 5)
    host.names.append("Zebra")
    assert download_gso(tmp_path, 3, seed=5, hub=host.url, progress=False) == three
    before = len(zips_asked(host))
    four = download_gso(tmp_path, 4, seed=5, names=None, hub=host.url, progress=False)
    assert len(four) == 4 and len(zips_asked(host)) == before + 1
    with pytest.raises(InputError, match="9 objects were asked for, but there are 6"):
        download_gso(tmp_path, 9, hub=host.url, progress=False)


def test_named_objects_need_no_list(hub, tmp_path):
    host = hub()
    assert download_gso(tmp_path, names=["SCHOOL_BUS", "Ünicorn"], hub=host.url, progress=False)[0].name == "SCHOOL_BUS"
    assert not any("/1.0/models" in path for path in host.paths())


def test_a_broken_connection_goes_on_where_it_broke(hub, tmp_path):
    host = hub()
    path = host.zip_path("SCHOOL_BUS")
    host.trouble = {path: ["cut", "503", "cut"], "/1.0/models": ["500"]}
    download_gso(tmp_path, names=["SCHOOL_BUS"], hub=host.url, progress=False)
    size = len(host.files[path])
    ranges = [given for asked, given in host.asked if asked == path]
    assert ranges == [None, f"bytes={size // 2}-", f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]
    assert verify_collection(tmp_path) == []


@pytest.mark.parametrize("trouble", ["", "wrong range"])
def test_a_zip_that_changes_after_the_break_is_not_glued(hub, tmp_path, trouble):
    """With If-Range the host sends the whole new file; one that ignores it is found out by the version it names."""
    host = hub()
    path = host.zip_path("SCHOOL_BUS")
    host.trouble = {path: ["cut", "404", trouble]}
    with pytest.raises(InputError, match="HTTP 404"):
        download.download(host.url + path, tmp_path / "a.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip.part", "a.zip.part.version"]
    host.files[path] = new = scan("SCHOOL_BUS", extra={"model.config": np.random.default_rng(1).bytes(5000)})
    assert download.download(host.url + path, tmp_path / "a.zip").read_bytes() == new
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]
    assert len(zips_asked(host)) == (3 if trouble == "" else 4)


def test_a_damaged_zip_is_fetched_again_and_then_named(hub, tmp_path):
    host = hub()
    path = host.zip_path("SCHOOL_BUS")
    host.trouble = {path: ["damaged"]}
    download_gso(tmp_path / "a", names=["SCHOOL_BUS"], hub=host.url, progress=False)
    assert len(zips_asked(host)) == 2 and verify_collection(tmp_path / "a") == []
    flipped = bytearray(host.files[path])
    flipped[len(flipped) // 2] ^= 255  # inside the texture: only its CRC tells
    host.files[path] = bytes(flipped)
    with pytest.raises(InputError, match="1 of 2 objects could not be had, the first being 'SCHOOL_BUS': .*not a whole zip"):
        download_gso(tmp_path / "b", names=["ACE_Mug", "SCHOOL_BUS"], hub=host.url, progress=False)
    assert sorted(read_collection(tmp_path / "b")) == ["ACE_Mug"] and not (tmp_path / "b/SCHOOL_BUS").exists()
    assert [p.name for p in (tmp_path / "b/.parts").iterdir()] == ["lock"]
    host.files[path] = scan("SCHOOL_BUS")
    download_gso(tmp_path / "b", names=["ACE_Mug", "SCHOOL_BUS"], hub=host.url, progress=False)
    assert verify_collection(tmp_path / "b") == []


def test_a_short_answer_without_a_length_does_not_become_an_object(hub, tmp_path):
    host = hub()
    host.trouble = {host.zip_path("SCHOOL_BUS"): ["cut without length"]}
    download_gso(tmp_path, names=["SCHOOL_BUS"], hub=host.url, progress=False)
    assert verify_collection(tmp_path) == [] and len(zips_asked(host)) == 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (scan("a", extra={"../../evil.txt": b"x"}), r"wants to write '\.\./\.\./evil\.txt', outside"),
        (scan("a", extra={"/etc/evil": b"x"}), "outside its folder"),
        (scan("a", extra={"C:\\evil": b"x"}), "outside its folder"),
        (scan("a", without="texture"), "no image in materials/textures; the object has no texture"),
        (scan("a", without=".obj"), "holds no meshes/model.obj"),
        (scan("a", extra={".": b"x"}), "wants to write '.', outside"),
        (scan("a", extra={"meshes/model.obj/x": b"x"}), "a.zip cannot be unpacked into .*/a"),
        (b"<html>busy</html>", "is not a whole zip file"),
    ],
)
def test_bad_zips_leave_nothing(tmp_path, data, words):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.zip").write_bytes(data)
    with pytest.raises(InputError, match=words) as error:
        unpack_model(tmp_path / "in/a.zip", tmp_path / "out/a")
    assert "\n" not in str(error.value) and list((tmp_path / "out").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("meshes/secret")
    link.external_attr = 0o120777 << 16
    out = io.BytesIO(scan("a"))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    (tmp_path / "a.zip").write_bytes(out.getvalue())
    with pytest.raises(InputError, match="meshes/secret"):
        unpack_model(tmp_path / "a.zip", tmp_path / "a")


def test_a_zip_with_a_folder_around_it(tmp_path):
    (tmp_path / "a.zip").write_bytes(scan("a", root="models/a/", extra={}))
    unpack_model(tmp_path / "a.zip", tmp_path / "a")
    assert (tmp_path / "a/meshes/model.obj").read_text() == OBJ and load_mesh(tmp_path / "a").textures[0].shape[0] == 256


def test_one_missing_object_does_not_keep_the_others(hub, tmp_path):
    host = hub()
    del host.moved["/1.0/GoogleResearch/models/Big Bus.zip"]
    with pytest.raises(InputError, match="1 of 5 objects could not be had, the first being 'Big Bus': .*HTTP 404"):
        download_gso(tmp_path, hub=host.url, progress=False)
    assert sorted(read_collection(tmp_path)) == sorted(set(NAMES) - {"Big Bus"})
    assert verify_collection(tmp_path) == ["Big Bus was never downloaded."]


def test_a_full_disk_stops_everything_and_loses_nothing(hub, tmp_path, monkeypatch):
    """The first zip fits and what is in it does not: the others are not even asked for, and the zip is kept."""
    host = hub()
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 10**9 if path.name == ".parts" else 0))
        with pytest.raises(InputError, match="0.0 GB free, ACE_Mug needs 0.0 GB; free some"):
            download_gso(tmp_path, hub=host.url, progress=False)
    assert len(zips_asked(host)) == 1 and not (tmp_path / "ACE_Mug").exists()
    download_gso(tmp_path, hub=host.url, progress=False)
    assert len(zips_asked(host)) == len(NAMES) and verify_collection(tmp_path) == []


def test_a_host_that_fails_throughout_is_left_alone(hub, tmp_path):
    host = hub()
    host.trouble = {host.zip_path(name): ["503"] * 9 for name in NAMES}
    with pytest.raises(InputError, match=r"3 of 5 objects could not be had \(stopped after 3 in a row\)"):
        download_gso(tmp_path, hub=host.url, progress=False)
    assert len(zips_asked(host)) == 3 * download.ATTEMPTS
    host.trouble, host.moved = {}, {}
    with pytest.raises(InputError, match=r"5 of 5 objects could not be had, the first"):
        download_gso(tmp_path, hub=host.url, progress=False)  # a host that answers "not here" is asked for each


@pytest.mark.parametrize("wait", ["1", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)])
def test_a_busy_hub_is_given_the_time_it_asks_for(hub, tmp_path, monkeypatch, wait):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    host = hub()
    host.trouble = {host.zip_path("SCHOOL_BUS"): [f"429 {wait}"]}
    download_gso(tmp_path, names=["SCHOOL_BUS"], hub=host.url, progress=False)
    assert (1.0 if wait == "1" else download.LONGEST_WAIT) in waited


def test_the_rate_is_kept(hub, tmp_path):
    host = hub()
    start = time.monotonic()
    download_gso(tmp_path, rate=0.4, hub=host.url, progress=False)
    seconds = time.monotonic() - start
    assert host.sent > 300_000 and seconds > 0.95 * host.sent / 0.4e6
    with pytest.raises(InputError, match="rate = 0"):
        download_gso(tmp_path, rate=0, hub=host.url)


def fetch_all(dest, url):
    download_gso(dest, hub=url, progress=False)


def test_after_a_kill_only_what_is_missing_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "BLOCK", 4096)
    host = hub()
    held = sorted(NAMES)[2]
    host.trouble = {host.zip_path(held): ["hold"]}
    worker = multiprocessing.get_context("fork").Process(target=fetch_all, args=(tmp_path, host.url))
    worker.start()
    assert host.holding.wait(20)
    part = tmp_path / ".parts" / f"{held}.zip.part"
    half = len(host.files[host.zip_path(held)]) // 2
    until(lambda: part.exists() and part.stat().st_size >= half - 4096)
    with pytest.raises(InputError, match="Another process is downloading"):
        download_gso(tmp_path, hub=host.url, progress=False)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    host.go.set()
    had = part.stat().st_size
    assert sorted(read_collection(tmp_path)) == sorted(NAMES)[:2]
    host.asked.clear()
    download_gso(tmp_path, hub=host.url, progress=False)
    assert zips_asked(host) == [host.zip_path(name) for name in sorted(NAMES)[2:]]
    assert dict(host.asked)[host.zip_path(held)] == f"bytes={had}-"
    assert verify_collection(tmp_path) == [] and len(find_objects(tmp_path)) == 5


def test_answers_that_are_no_list(hub):
    host = hub()
    for body, words in ((b"<html>", "did not answer with a list"), (b'[{"nom": 1}]', "'name'"), (b"[]", "lists no objects")):
        host.lists["/1.0/models"] = lambda query, body=body: (200, {}, body)
        with pytest.raises(InputError, match=words):
            list_models(hub=host.url)
    for name in ("../up", 5, None):
        host.lists["/1.0/models"] = lambda query, name=name: (200, {}, json.dumps([{"name": name}]).encode())
        with pytest.raises(InputError, match=f"{name!r} cannot be used as a file name".replace(".", r"\.")):
            list_models(hub=host.url)


def test_the_command_downloads_verifies_and_goes_on(hub, tmp_path, monkeypatch, capsys):
    host = hub()
    monkeypatch.setattr(fuel.download_gso, "__kwdefaults__", {**fuel.download_gso.__kwdefaults__, "hub": host.url})
    (tmp_path / "names.txt").write_text("# two\nSCHOOL_BUS\nACE_Mug  # a mug\n")
    main(["data", "gso", "--dest", str(tmp_path / "gso"), "--names", str(tmp_path / "names.txt")])
    assert "2 objects" in capsys.readouterr().out
    main(["data", "gso", "--out", str(tmp_path / "again"), "--names", str(tmp_path / "gso/collection.json")])
    assert sorted(read_collection(tmp_path / "again")) == ["ACE_Mug", "SCHOOL_BUS"]
    main(["verify", str(tmp_path / "gso")])
    assert "2 objects are as they were downloaded" in capsys.readouterr().out
    (tmp_path / "gso/ACE_Mug/meshes/model.obj").write_text("v 0 0 0\n")
    with pytest.raises(SystemExit):
        main(["verify", str(tmp_path / "gso")])
    assert "ACE_Mug: ACE_Mug/meshes/model.obj has another SHA-256" in capsys.readouterr().err
    for extra, words in ((("--size", "64"), "--size is not for gso, only for matsynth"), (("--count", "0"), "count = 0")):
        with pytest.raises(SystemExit):
            main(["data", "gso", "--out", str(tmp_path / "x"), *extra])
        assert words in capsys.readouterr().err


def test_only_one_connection_at_a_time(hub, tmp_path):
    host = hub()
    busy, most, lock = [0], [0], threading.Lock()
    plain = host.version

    def counted(path, data):
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.02)
        with lock:
            busy[0] -= 1
        return plain(path, data)

    host.version = counted
    download_gso(tmp_path, hub=host.url, progress=False)
    assert most == [1]
