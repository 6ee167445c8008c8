"""make bench-training with tiny counts: its products are the network's, its arithmetic, its view of another process."""

import platform
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bench_training
from benchmarks.bench_training import Counts, Products, backward, demands, network_of, shares, split, states_of
from lrmzero_lite import PosedViews, random_cameras
from lrmzero_lite.data import ShardSource, Zeroverse, write_shards
from lrmzero_lite.data.batches import stack_views
from lrmzero_lite.presets import LITE, SMOKE
from lrmzero_lite.train.loop import predict

TINY = Counts(batches=((32, 1),), rounds=1, objects=2, steps=2, width=32)


def test_the_products_are_exactly_the_networks():
    model, rng = network_of(TINY), np.random.default_rng(0)
    views = stack_views([PosedViews(torch.rand(4, 32, 32, 4), random_cameras(4, 32, rng)) for _ in range(2)])
    with FlopCounterMode(display=False) as ours:
        products = Products(model.config, 2, 64)
        products.forward()
        products.backward()
    with FlopCounterMode(display=False) as network:
        gaussians = predict(model, views, LITE.train)
        leaves = gaussians.detach().map(lambda x: x.clone().requires_grad_())
        sum(getattr(leaves, name).sum() for name in ("means", "quats", "scales", "opacities", "sh")).backward()
        backward(gaussians, leaves)
    rays = 8 * 2 * (27 + 9)  # of each view two matrices of 3 x 3 are multiplied, and one with a vector
    assert ours.get_total_flops() == network.get_total_flops() - rays
    assert not products.kept


def test_shares_of_known_rounds():
    row = dict(shards=1, on_the_fly=50, forward=2, backward=4, product_forward=1, product_backward=2, loss=3, loss_backward=3)
    row |= dict(raster=1, raster_backward=2, optimizer=1, muon=2, library_muon=5)
    found = shares([{name: value / 1000 for name, value in row.items()}] * 3)
    assert found["ms"] == pytest.approx({"data": 1, "network": 6, "raster": 3, "loss": 3, "optimizer": 1})
    assert found["step_ms"] == pytest.approx(14) and found["network_over_products"] == pytest.approx(2)
    assert found["library_muon_over_ours"] == 2.5 and found["muon_ms"] == 2
    assert found["raster_and_data"] == pytest.approx(4 / 14) and sum(found["share"].values()) == pytest.approx(1)


def test_a_split_of_a_tiny_step(tmp_path):
    write_shards(range(2), tmp_path, SMOKE.zeroverse, LITE.views, progress=False)
    sources = {"on_the_fly": Zeroverse(SMOKE.zeroverse, LITE.views, range(2)), "shards": ShardSource(tmp_path)}
    found = split(32, 1, sources, TINY)
    assert found["tokens"] == 64 and found["objects"] == 1
    assert found["step_ms"] == pytest.approx(sum(found["ms"].values()))  # of the only round
    assert found["network_over_products"] == pytest.approx(found["ms"]["network"] / found["products_ms"])
    assert min(found["ms"]["network"], found["ms"]["raster"], found["ms"]["data"], found["ms"]["optimizer"]) > 0


def test_running_threads_of_another_process_are_seen():
    work = "lambda: hashlib.pbkdf2_hmac('sha1', b'', b'', 10**9)"
    code = f"import threading, hashlib\nfor _ in range(3): threading.Thread(target={work}).start()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            deadline = time.time() + 20
            while sum(state == "R" for state in states_of(process.pid).values()) < 3:
                assert time.time() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    assert states_of(process.pid) == {}


def test_demands_hold_or_miss():
    size = {"network_over_products": 1.2, "raster_and_data": 0.5}
    memory = {"ready_mean": 1.5, "peak_GB": 2.0}
    rows = demands({"split": {"64": size}, "cores": 2, "train": memory, "reconstruct": memory})
    assert [row["holds"] for row in rows] == [True, False, True, True, False]


def test_a_probe_tells_its_memory(tmp_path, capsys):
    write_shards(range(1), tmp_path, SMOKE.zeroverse, LITE.views, progress=False)
    bench_training.main(["--probe", "reconstruct", "--shards", str(tmp_path)])
    assert 0.1 < float(capsys.readouterr().out.split('"peak_GB": ')[1].split(",")[0]) < 16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept():
    """The second time the same tensors are made, the system has to clear no pages for them."""
    code = """
import resource, torch
from lrmzero_lite.train.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(1 << 24) for _ in range(4)]  # 64 MiB each: more than glibc would by itself keep after the first
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fresh = [faults() for _ in range(3)][-1]
print(keep_freed_memory(), fresh, [faults() for _ in range(3)][-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, fresh, again = done.stdout.split()
    assert kept == "True" and int(fresh) > 60_000 and int(again) < 100
