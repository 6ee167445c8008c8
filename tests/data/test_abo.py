"""ABO's models from a local host that answers as its S3 bucket does, and from a tar file like its archive."""

import csv
import gzip
import io
import tarfile
from xml.sax.saxutils import escape

import numpy as np
import pytest

from lrmzero_lite import InputError, download
from lrmzero_lite.cli import main
from lrmzero_lite.data import abo, find_objects, load_mesh
from lrmzero_lite.data.abo import check_glb, download_abo, list_bucket, read_catalogue
from lrmzero_lite.data.collection import draw, read_collection, verify_collection

from .http_host import HttpHost

NAMES = ["B01N2PLWIL", "B0718WYQ8D", "B071J7Q6KD", "B013OWRNDC", "B07AAAAAA1"]
ABSENT = "B0000ABSENT"  # the catalogue has it, the bucket does not
COLUMNS = (
    "3dmodel_id,path,meshes,materials,textures,images,image_height_max,image_height_min,image_width_max,image_width_min,"
    "vertices,faces,extent_x,extent_y,extent_z"
)


def place(name: str) -> str:
    return f"{name[-1]}/{name}.glb"


def catalogue(names) -> bytes:
    rows = [f"{name},{place(name)}," + ",".join("1" * 13) for name in names]
    return gzip.compress("\n".join([COLUMNS, *rows, ""]).encode())


class S3(HttpHost):
    """A bucket. pieces: names whose ETag is not an MD5, since they were uploaded in pieces; listing: whether one may list."""

    def __init__(self, glb: bytes, pieces=(), listing=True, per_page=3):
        super().__init__()
        plain = self.version
        self.version = lambda path, data: {"ETag": '"abc-2"'} if any(n in path for n in pieces) else plain(path, data)
        self.files["/" + abo.CATALOGUE] = catalogue([*NAMES, ABSENT])
        for number, name in enumerate(NAMES):
            self.files[f"/{abo.MODELS}{place(name)}"] = (
                glb[:8] + (len(glb) + 4 * number).to_bytes(4, "little") + glb[12:] + bytes(4 * number)
            )  # each of its own length, as its header says
        self.listing, self.per_page = listing, per_page
        self.lists["/"] = self.page

    def page(self, query):
        assert query["list-type"] == "2"
        if not self.listing:
            return 403, {}, b"<Error><Code>AccessDenied</Code></Error>"
        keys = sorted(path[1:] for path in self.files if path[1:].startswith(query["prefix"]))
        start = int(query.get("continuation-token", "t/0+=").removeprefix("t/").removesuffix("+="))
        shown = keys[start : start + self.per_page]
        more = start + self.per_page < len(keys)
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><ETag>{escape(self.version('/' + key, self.files['/' + key])['ETag'])}</ETag>"
            f"<Size>{len(self.files['/' + key])}</Size></Contents>"
            for key in shown
        )
        token = f"<NextContinuationToken>t/{start + self.per_page}+=</NextContinuationToken>" if more else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        )
        return 200, {"Content-Type": "application/xml"}, text.encode()


@pytest.fixture(scope="module")
def glb(cube, tmp_path_factory):
    path = tmp_path_factory.mktemp("glb") / "cube.glb"
    cube.save(path)
    return path.read_bytes()


@pytest.fixture
def bucket(glb, monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "*")
    made = []

    def make(**kwargs):
        made.append(S3(glb, **kwargs))
        return made[-1]

    yield make
    for host in made:
        host.close()


def models_asked(host):
    return [path.rsplit("/", 1)[1][:-4] for path in host.paths() if path.endswith(".glb")]


def test_the_list_of_a_bucket_over_all_pages(bucket):
    host = bucket(pieces=["B071J7Q6KD"])
    stored = list_bucket("3dmodels/", bucket=host.url)
    assert {f"/{key}" for key in stored} == set(host.files) and len(host.asked) == 2
    for key, found in stored.items():
        assert found.size == len(host.files["/" + key])
        expected = None if "B071J7Q6KD" in key else host.version("/" + key, host.files["/" + key])["ETag"].strip('"')
        assert found.md5 == expected


def test_a_bucket_that_repeats_itself_is_an_error(bucket):
    host = bucket(per_page=2)
    page = host.page
    host.lists["/"] = lambda query: page({**query, "continuation-token": "t/0+="})
    with pytest.raises(InputError, match="promises more files but repeats the same ones"):
        list_bucket("3dmodels/", bucket=host.url)


def test_models_arrive_and_load_the_right_way_up(bucket, cube, tmp_path):
    host = bucket(pieces=["B071J7Q6KD"])
    files = download_abo(tmp_path, bucket=host.url, progress=False)
    assert files == [tmp_path / f"{name}.glb" for name in sorted(NAMES)]  # the absent one was not drawn
    assert [ref.name for ref in find_objects(tmp_path)] == sorted(NAMES) and verify_collection(tmp_path) == []
    mesh = load_mesh(files[0])
    top = mesh.vertices[mesh.faces].mean(axis=1)[:, 2] > 0.899
    assert (mesh.textures[mesh.face_material[top][0]][0, 0] == [0, 0, 255]).all()  # the cube's +Z, which the file has as +Y
    entries = read_collection(tmp_path)
    assert entries["B071J7Q6KD"].version is None and len(entries["B01N2PLWIL"].version) == 32
    assert entries["B01N2PLWIL"].url == f"{host.url}/3dmodels/original/L/B01N2PLWIL.glb"
    asked = len(host.asked)
    assert download_abo(tmp_path, bucket=host.url, progress=False) == files and len(host.asked) == asked


def test_only_as_many_as_asked_for(bucket, tmp_path):
    host = bucket()
    files = download_abo(tmp_path, 2, seed=3, bucket=host.url, progress=False)
    assert [file.stem for file in files] == draw(NAMES, 2, 3) == sorted(models_asked(host))
    with pytest.raises(InputError, match="6 objects were asked for, but there are 5"):
        download_abo(tmp_path, 6, bucket=host.url, progress=False)
    with pytest.raises(InputError, match="first being 'B0000ABSENT': .*HTTP 404"):
        download_abo(tmp_path, names=[ABSENT, NAMES[0]], bucket=host.url, progress=False)
    with pytest.raises(InputError, match="no model 'B0UNKNOWN'"):
        download_abo(tmp_path, names=["B0UNKNOWN"], bucket=host.url, progress=False)


def test_breaks_and_damage(bucket, tmp_path):
    host = bucket(pieces=[NAMES[2]])
    path = lambda name: f"/{abo.MODELS}{place(name)}"
    size = len(host.files[path(NAMES[0])])
    host.trouble = {path(NAMES[0]): ["cut", "503"], path(NAMES[1]): ["damaged"], "/": ["500"]}
    download_abo(tmp_path, names=NAMES[:3], bucket=host.url, progress=False)
    asked = [given for p, given in host.asked if p == path(NAMES[0])]
    assert asked == [None, *[f"bytes={size // 2}-"] * 2]
    assert models_asked(host).count(NAMES[1]) == 2  # its MD5 was wrong
    for name in NAMES[:3]:
        assert (tmp_path / f"{name}.glb").read_bytes() == host.files[path(name)]


def test_a_bucket_that_may_not_be_listed(bucket, tmp_path):
    """S3 answers 403 for lists without the right to list, and then also for what is not there."""
    host = bucket(listing=False)
    host.trouble = {f"/{abo.MODELS}{place(ABSENT)}": ["403"]}
    with pytest.raises(InputError, match=f"1 of 6 objects could not be had, the first being '{ABSENT}': .*HTTP 403"):
        download_abo(tmp_path, bucket=host.url, progress=False)
    assert sorted(read_collection(tmp_path)) == sorted(NAMES)


def test_what_is_not_a_whole_glb_is_not_kept(bucket, tmp_path, glb):
    host = bucket(listing=False)
    path = f"/{abo.MODELS}{place(NAMES[0])}"
    host.trouble = {path: ["cut without length"]}
    with pytest.raises(InputError, match=f"{NAMES[0]}.glb arrived as [0-9]+ bytes that are not one whole GLB"):
        download_abo(tmp_path, names=NAMES[:1], bucket=host.url, progress=False)
    assert not (tmp_path / f"{NAMES[0]}.glb").exists()
    for data in (b"", b"glTF", b"<html>not found</html>", glb[:-1], glb + b"\0", glb[:4] + b"\1" + glb[5:]):
        (tmp_path / "x.glb").write_bytes(data)
        with pytest.raises(InputError, match="not one whole GLB"):
            check_glb(tmp_path / "x.glb")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>", "not ABO's catalogue"),
        (gzip.compress(b"a,b\n1,2\n"), "'3dmodel_id'"),
        (gzip.compress(f"{COLUMNS}\nB1,../../up.glb\n".encode()), "the path '../../up.glb'"),
        (gzip.compress(f"{COLUMNS}\n../B1,a.glb\n".encode()), "cannot be used as a file name"),
        (catalogue(NAMES)[:-9], "not ABO's catalogue"),
    ],
)
def test_catalogues_that_are_none(tmp_path, data, words):
    (tmp_path / "c.csv.gz").write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_catalogue(tmp_path / "c.csv.gz")


def tar(path, files, start="./"):
    with tarfile.open(path, "w") as out:
        for name, data in files.items():
            member = tarfile.TarInfo(start + name.lstrip("/"))
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("start", ["", "./"])
def test_the_archive_on_disk_gives_the_same_files(bucket, tmp_path, start):
    host = bucket()
    archive = tar(tmp_path / "abo-3dmodels.tar", host.files, start)
    here = download_abo(tmp_path / "a", 3, archive=archive, progress=False)
    there = download_abo(tmp_path / "b", 3, bucket=host.url, progress=False)
    assert [path.read_bytes() for path in here] == [path.read_bytes() for path in there]
    assert [path.name for path in here] == [path.name for path in there]
    assert read_collection(tmp_path / "a")[here[0].stem].url.startswith("file://")
    with pytest.raises(InputError, match=f"holds no .*{ABSENT}"):
        download_abo(tmp_path / "a", names=[ABSENT], archive=archive, progress=False)
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(InputError, match="not a readable tar file"):
        download_abo(tmp_path / "c", 1, archive=tmp_path / "bad.tar", progress=False)


def test_the_command(bucket, tmp_path, capsys):
    archive = tar(tmp_path / "abo-3dmodels.tar", bucket().files)
    main(["data", "abo", "--dest", str(tmp_path / "abo"), "--count", "2", "--seed", "1", "--archive", str(archive)])
    said = capsys.readouterr().out
    assert "2 objects" in said and "CC BY-NC 4.0" in said
    assert sorted(path.stem for path in (tmp_path / "abo").glob("*.glb")) == draw(NAMES, 2, 1)
    main(["verify", str(tmp_path / "abo")])
    with pytest.raises(SystemExit):
        main(["data", "gso", "--out", str(tmp_path / "gso"), "--archive", str(archive)])
    assert "--archive is not for gso, only for abo" in capsys.readouterr().err


def test_the_shared_catalogue_lists_more_than_is_there_and_its_extents_are_ours(shared_data):
    """ABO's columns are Y-up as in the file; ours are Z-up and normalised."""
    folder = shared_data / "abo_like"
    listed = read_catalogue(folder / "3dmodels.csv.gz")
    there = {ref.name: ref.path for ref in find_objects(folder)}
    assert set(there) < set(listed) and all(listed[name] == path.name for name, path in there.items())
    with gzip.open(folder / "3dmodels.csv.gz", "rt") as file:
        rows = {row["3dmodel_id"]: row for row in csv.DictReader(file)}
    for name in ("AWS_ChairA_01", "WaterBottle", "PC_cat", "AWS_ShoeRack_01"):
        x, y, z = (float(rows[name][f"extent_{axis}"]) for axis in "xyz")
        ours = np.ptp(load_mesh(there[name]).bounds, axis=0)
        np.testing.assert_allclose(ours, np.array([x, z, y]) * 1.8 / max(x, y, z), atol=0.01)
