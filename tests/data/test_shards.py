"""Shards: what was rendered is what is read; kills, full disks and damage lose no object and double none."""

import errno
import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lrmzero_lite import InputError
from lrmzero_lite.data import ShardSource, ViewsConfig, Zeroverse, write_shards
from lrmzero_lite.data.progress import Progress, duration
from lrmzero_lite.data.shard_file import Shard, ShardFile
from lrmzero_lite.data.shard_plan import ShardPlan, plan_shards
from lrmzero_lite.data.verify import verify_shards
from lrmzero_lite.presets import SMOKE
from lrmzero_lite.views import to_uint8

VIEWS = ViewsConfig(views=4, size=16)
SEEDS, PER_SHARD = range(3, 16), 5


def write(out: Path, seeds: range = SEEDS, views: ViewsConfig = VIEWS, **options) -> Path:
    return write_shards(seeds, out, SMOKE.zeroverse, views, **{"per_shard": PER_SHARD, "progress": False, **options})


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file; provenance.json tells of runs, not of objects."""
    paths = [p for p in folder.iterdir() if p.name != "provenance.json"]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder written in one go."""
    return write(tmp_path_factory.mktemp("whole")).parent


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


# ---- what is written is what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [None, "png"])
def test_reads_back_what_was_rendered(whole, tmp_path, compress):
    folder = whole if compress is None else write(tmp_path, compress=compress).parent
    source, fresh = ShardSource(folder), Zeroverse(SMOKE.zeroverse, VIEWS, SEEDS)
    assert len(source) == len(SEEDS) and source.size == 16 and source.reuse == 1 and source.has_depth
    for index, truth in enumerate(fresh):
        stored = source[index]
        assert np.array_equal(to_uint8(stored.images), to_uint8(truth.images))
        torch.testing.assert_close(stored.depth, truth.depth, atol=2e-3, rtol=0)
        assert torch.equal(stored.cameras.viewmats, truth.cameras.viewmats) and torch.equal(stored.cameras.Ks, truth.cameras.Ks)
    picked = source.select(7, lambda cameras: [2, 0])
    assert torch.equal(picked.images, source[7].images[[2, 0]]) and torch.equal(picked.depth, source[7].depth[[2, 0]])
    assert len(list(source)) == len(SEEDS)


def test_png_is_smaller_and_without_depth_smaller_still(whole, tmp_path):
    views = replace(VIEWS, size=64)
    size = lambda name, **options: tars(write(tmp_path / name, range(2), **{"views": views, **options}).parent)[0].stat().st_size
    raw, png, bare = size("raw"), size("png", compress="png"), size("bare", views=replace(views, depth=False))
    depth = 2 * views.views * 64 * 64 * 2  # bytes: two objects in float16
    assert png < 0.6 * raw and 0.95 * depth < raw - bare < 1.2 * depth
    assert ShardSource(tmp_path / "bare")[0].depth is None and not ShardSource(tmp_path / "bare").has_depth


def test_standard_tar_reads_every_decision(whole):
    names, seeds = [], []
    for path in tars(whole):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                names.append(member.name)
                if member.name.endswith(".json"):
                    about = json.load(tar.extractfile(member))
                    seeds.append(about["seed"])
                    assert about["recipe"]["primitives"] and about["views"]["law"] == "paper" and len(about["config_hash"]) == 10
    assert seeds == list(SEEDS) and len(names) == len(set(names)) == 5 * len(SEEDS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compress", [None, "png"])
def test_standard_webdataset_reads_a_shard(whole, tmp_path, compress):
    webdataset = pytest.importorskip("webdataset", reason="pip install 'lrmzero-lite[cluster]' brings webdataset")
    folder = whole if compress is None else write(tmp_path, compress=compress).parent
    decode = () if compress is None else ("rgba8",)
    samples = list(webdataset.WebDataset([str(p) for p in tars(folder)], shardshuffle=False, empty_check=False).decode(*decode))
    assert [sample["__key__"] for sample in samples] == [f"{seed:08d}" for seed in SEEDS]
    source = ShardSource(folder)
    for index, sample in enumerate(samples):
        rgba = sample["rgba.npy"] if compress is None else np.stack([sample[f"{v:03d}.png"] for v in range(4)])
        assert np.array_equal(rgba, to_uint8(source[index].images))
        assert np.array_equal(sample["viewmats.npy"], source[index].cameras.viewmats.numpy())
        depth = sample["depth.npy"] if compress is None else sample["depth.npz"]["depth"]
        assert np.array_equal(depth.astype(np.float32), source[index].depth.numpy()) and sample["json"]["seed"] == SEEDS[index]


def test_shards_of_the_first_version_are_read(tmp_path):
    """Tars with hashes in the manifest alone, no index beside them, and a recipe without hashes."""
    truth = Zeroverse(SMOKE.zeroverse, VIEWS, range(3))
    with tarfile.open(tmp_path / "old.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for seed, posed in enumerate(truth):
            arrays = {"rgba": to_uint8(posed.images), "depth": posed.depth.numpy().astype(np.float16)}
            arrays |= {"viewmats": posed.cameras.viewmats.numpy(), "Ks": posed.cameras.Ks.numpy()}
            for kind, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array)
                info = tarfile.TarInfo(f"{seed:08d}.{kind}.npy")
                info.size = len(buffer.getvalue())
                tar.addfile(info, io.BytesIO(buffer.getvalue()))
    entry = {"file": "old.tar", "objects": 3, "bytes": (tmp_path / "old.tar").stat().st_size}
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": [entry], "views": {"size": 16}}))
    source = ShardSource(tmp_path)
    assert [np.array_equal(to_uint8(a.images), to_uint8(b.images)) for a, b in zip(source, truth, strict=True)] == [True] * 3


def test_a_source_goes_to_worker_processes_small(whole):
    import pickle

    source = ShardSource(whole)
    first = source[0].images
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 4096 and torch.equal(again[0].images, first)


# ---- the same bytes, whatever happens ------------------------------------------------------------------------------


def test_workers_do_not_change_the_bytes(whole, tmp_path):
    write(tmp_path, workers=3)
    assert contents(tmp_path) == contents(whole)


def test_reuse_stores_every_variant_once(tmp_path):
    manifest = write(tmp_path, range(2, 5), reuse=2, per_shard=2)
    assert [s["objects"] for s in json.loads(manifest.read_text())["shards"]] == [4, 2]
    source, fresh = ShardSource(tmp_path), Zeroverse(SMOKE.zeroverse, VIEWS, range(2, 5), reuse=2)
    assert all(np.array_equal(to_uint8(a.images), to_uint8(b.images)) for a, b in zip(source, fresh, strict=True))
    assert source.reuse == 2 and verify_shards(tmp_path, 2, progress=False).problems == ()


def fork(work) -> int:
    """A child process that does `work` and nothing else; returns its id."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


@pytest.mark.parametrize("attempt", range(4))
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(whole, tmp_path, attempt):
    """SIGKILL at random moments, six times; then the run is let to its end."""
    draw = np.random.default_rng(attempt)
    for _ in range(6):
        child = fork(lambda: write(tmp_path))
        time.sleep(draw.uniform(0.005, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    write(tmp_path)
    assert contents(tmp_path) == contents(whole)
    assert verify_shards(tmp_path, progress=False).problems == ()


@pytest.mark.parametrize("keep", [0, 1, 511, 512, 700, 9000, 15000, 30000, 50000, 10**9])
def test_a_torn_part_keeps_its_whole_objects(whole, tmp_path, keep):
    """Every length at which a kill or a power cut may leave the growing shard, with zeros where data had not arrived."""
    shard = plan_shards(Zeroverse(SMOKE.zeroverse, VIEWS, SEEDS), tmp_path, PER_SHARD).shards[0]
    index = json.loads(tars(whole)[0].with_suffix(".json").read_text())
    good = sum(o["offset"] + o["bytes"] <= keep for o in index["objects"])
    for tail in (b"", bytes(2000)):
        shard.part.write_bytes(tars(whole)[0].read_bytes()[:keep] + tail)
        file = ShardFile(shard)
        assert len(file.objects) == good and file.objects == index["objects"][:good] and shard.part.stat().st_size == file.bytes
        file.close()


def test_what_is_there_is_not_made_again(copy, whole, monkeypatch):
    made = []
    real = ShardPlan.record
    monkeypatch.setattr(ShardPlan, "record", lambda plan, key: made.append(key) or real(plan, key))
    write(copy)
    assert made == []
    second = tars(copy)[1]
    fourth = json.loads(second.with_suffix(".json").read_text())["objects"][3]
    second.write_bytes(second.read_bytes()[: fourth["offset"] + 100])
    tars(copy)[2].unlink()
    write(copy)
    assert made == [f"{seed:08d}" for seed in (11, 12, 13, 14, 15)]
    assert contents(copy) == contents(whole)
    runs = json.loads((copy / "provenance.json").read_text())["runs"]
    assert [run["objects"] for run in runs] == [13, 5]


def test_more_seeds_later(whole, tmp_path):
    for stop in (5, 9, 13, SEEDS.stop):
        write(tmp_path, range(SEEDS.start, stop))
    assert contents(tmp_path) == contents(whole)
    with pytest.raises(InputError, match="seeds"):
        write(tmp_path, range(SEEDS.start, 9))


def test_two_runs_at_once(tmp_path):
    shard = plan_shards(Zeroverse(SMOKE.zeroverse, VIEWS, SEEDS), tmp_path, PER_SHARD).shards[0]
    first = ShardFile(shard)
    with pytest.raises(InputError, match="Another run"):
        write(tmp_path)
    first.close()
    write(tmp_path)


# ---- full disks, damage --------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 100 kB, which holds one and a half shards."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_in_the_middle_of_a_shard(whole, tiny_disk):
    with pytest.raises(InputError, match="No space left .* are kept: free some space") as error:
        write(tiny_disk)
    assert "\n" not in str(error.value)
    before = sum(len(json.loads(p.read_text())["objects"]) for p in tiny_disk.glob("zeroverse_*.json"))
    assert before > 0 and list(tiny_disk.glob("*.part"))
    subprocess.run(["mount", "-o", "remount,size=1m", str(tiny_disk)], check=True)
    write(tiny_disk)
    assert contents(tiny_disk) == contents(whole)


def test_a_limit_on_the_length_of_files(whole, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(InputError, match="Cannot write .* are kept"):
            write(tmp_path)

    assert os.waitpid(fork(limited), 0)[1] == 0
    write(tmp_path)
    assert contents(tmp_path) == contents(whole)


def test_a_disk_that_fails_says_so(tmp_path, monkeypatch):
    shard = Shard(tmp_path / "a.tar", ("0",))
    file = ShardFile(shard)

    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(InputError, match="Input/output error"):
        file.finish()
    file.close()
    assert not shard.path.exists()


def test_reading_a_shard_cut_short_names_it(copy):
    path = tars(copy)[1]
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=f"{path.name} is truncated .*again"):
        ShardSource(copy)
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name} is missing"):
        ShardSource(copy)


def test_an_unfinished_folder_is_not_read(copy):
    (copy / "manifest.json").unlink()
    with pytest.raises(InputError, match="unfinished"):
        ShardSource(copy)


def test_out_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "name"),
    [({"views": replace(VIEWS, size=8)}, "views.size = 16, not 8"), ({"reuse": 2}, "reuse = 1, not 2")],
    ids=["size", "reuse"],
)
def test_other_settings_are_refused_by_name(copy, options, name):
    before = contents(copy)
    with pytest.raises(InputError, match=f"another configuration .*{name}"):
        write(copy, **options)
    assert contents(copy) == before


# ---- verify ----------------------------------------------------------------------------------------------------------


def test_verify_finds_nothing_wrong(whole):
    found = verify_shards(whole, 3, progress=False)
    assert (found.problems, found.shards, found.objects, found.remade) == ((), 3, 13, 3)
    assert found.bytes == sum(p.stat().st_size for p in tars(whole))


def damage(folder: Path, kind: str) -> str:
    """Do something to the second shard; return what the report must name."""
    path = tars(folder)[1]
    data = bytearray(path.read_bytes())
    first = json.loads(path.with_suffix(".json").read_text())["objects"]
    if kind == "bit":
        data[first[2]["offset"] + 3000] ^= 1
        path.write_bytes(data)
        return "00000010"
    if kind == "short":
        path.write_bytes(data[:-700])
        return path.name
    if kind == "missing":
        path.unlink()
        return path.name
    if kind == "twice":
        one = data[first[0]["offset"] : first[0]["offset"] + first[0]["bytes"]]
        path.write_bytes(one + data[: first[-1]["offset"]] + bytes(1024))
        return "00000008"
    if kind == "swapped tail":
        path.write_bytes(data[:-1] + b"x")
        return path.name
    if kind == "stranger":
        (folder / "zeroverse_00000003_00000004.tar").write_bytes(data)
        return "zeroverse_00000003_00000004.tar"
    if kind == "part":
        (folder / "zeroverse_00000003_00000008.tar.part").write_bytes(b"")
        return "unfinished"
    if kind == "index":
        index = json.loads(path.with_suffix(".json").read_text())
        index["objects"][1]["sha256"] = "0" * 64
        path.with_suffix(".json").write_text(json.dumps(index))
        return "00000009"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][1]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return "manifest.json"


DAMAGE = ["bit", "short", "missing", "twice", "swapped tail", "stranger", "part", "index", "manifest"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_verify_names_the_damage_and_its_fix_works(copy, whole, kind):
    word = damage(copy, kind)
    problems = verify_shards(copy, progress=False).problems
    assert problems and any(word in problem for problem in problems), problems
    assert all("\n" not in problem and ("again" in problem or "move it away" in problem) for problem in problems)
    for problem in problems:  # do what it says
        path = Path(problem.split(" does ")[0].split(" is ")[0].split(": object")[0].split(" holds")[0])
        if "move it away" in problem:
            path.unlink()
        elif "delete manifest.json" in problem:
            (copy / "manifest.json").unlink()
        elif "delete it" in problem:
            path.unlink(missing_ok=True)
    write(copy)
    assert contents(copy) == contents(whole)


def test_verify_notices_other_code(copy, monkeypatch):
    from lrmzero_lite.data import training_views

    monkeypatch.setattr(training_views, "CAMERA_STREAM", 99)
    found = verify_shards(copy, 2, progress=False)
    assert len(found.problems) == 2 and "viewmats.npy" in found.problems[0] and "provenance.json" in found.problems[0]


def test_verify_wants_a_folder_of_shards(tmp_path):
    with pytest.raises(InputError, match="no shards"):
        verify_shards(tmp_path)


# ---- sizes and progress ---------------------------------------------------------------------------------------------


def test_large_objects_make_short_shards():
    for size, views, expected in ((64, 12, 256), (256, 16, 128), (512, 32, 16)):
        dataset = Zeroverse(SMOKE.zeroverse, ViewsConfig(views=views, size=size), range(1000))
        plan = plan_shards(dataset, "x")
        assert plan.per_shard == expected and len(plan.shards) == -(-1000 // expected)
    assert sum(len(shard.keys) for shard in plan.shards) == 1000


def test_progress_rates_this_run_alone(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lrmzero_lite.data.progress.time.monotonic", lambda: now[0])
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    log = io.StringIO()
    with Progress(1000, 400, stream=log) as progress:
        for _ in range(60):  # two seconds each, whatever was there before
            now[0] += 2
            progress.advance()
    lines = log.getvalue().splitlines()
    assert len(lines) == 4 and lines[-1] == "460 of 1,000 objects, 0.50 objects/s, 18 min 0 s left"
    assert [duration(s) for s in (12, 200, 15_900, 183_700)] == ["12 s", "3 min 20 s", "4 h 25 min", "2 d 3 h"]


def test_progress_can_be_silenced(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    log = io.StringIO()
    with Progress(2, stream=log) as progress:
        progress.advance(2)
    assert log.getvalue() == ""
