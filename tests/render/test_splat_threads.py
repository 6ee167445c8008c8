"""The kernels among threads and processes: fork after use, spawn, concurrent callers, an error in a task."""

import concurrent.futures
import multiprocessing

import pytest
import torch

from lrmzero_lite import orbit_cameras
from lrmzero_lite.render import render_splats, threads

from .test_splats import scene


def render(inputs=None) -> torch.Tensor:
    cameras = orbit_cameras(4, 40)
    leaves = [x.requires_grad_() for x in inputs or scene(300)]
    image, alpha, _ = render_splats(*leaves, cameras.viewmats, cameras.Ks, 40, 40)
    (image.sum() + alpha.sum()).backward()
    return torch.cat([image.detach().flatten(), *(x.grad.flatten() for x in leaves)])


def send(pipe, inputs) -> None:
    torch.set_num_threads(2)
    pipe.send_bytes(render(inputs).numpy().tobytes())


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_process_draws_the_same(method, two_threads):
    """A child that was forked after the pool has threads does not inherit them."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    expected, inputs = render(), scene(300)
    context = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=send, args=(there, inputs), daemon=True)
    child.start()
    try:
        assert here.poll(60), "the child hangs"
        assert here.recv_bytes() == expected.numpy().tobytes()
        child.join(10)
        assert child.exitcode == 0
    finally:
        child.kill()


def test_concurrent_callers_do_not_disturb_each_other(two_threads):
    expected = render()
    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        for found in callers.map(lambda _: render(), range(12)):
            assert torch.equal(found, expected)


def test_every_task_runs_once_and_an_error_comes_back(two_threads):
    for count in (0, 1, 2, 57):
        done = []
        threads.run(done.append, count)
        assert sorted(done) == list(range(count))

    def fails(index: int) -> None:
        if index == 5:
            raise ValueError("task 5")

    for _ in range(20):
        with pytest.raises(ValueError, match="task 5"):
            threads.run(fails, 40)
    assert torch.isfinite(render()).all()  # the pool still works
