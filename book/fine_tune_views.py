"""Is it their training that keeps the shipped networks from gaining by eight views? lite-64 goes on with 2 to 8 views anywhere.

    python book/fine_tune_views.py --out runs/lite-any
    python book/publish_run.py runs/lite-any

The lite preset has always four inputs, nine times in ten on a ring at elevation 20. Here a step has 2, 4, 6 or 8; they stand
in half the objects on a ring whose elevations are uniform from -10 to 50, in the others as in the paper, anywhere on the
sphere. Renders the views it needs first, beside --out. What was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lrmzero_lite import InputError
from lrmzero_lite.data import ShardSource, write_shards
from lrmzero_lite.data.batches import SamplingConfig
from lrmzero_lite.presets import LITE, RunConfig
from lrmzero_lite.train import Stage, train

OBJECTS = {64: range(16_384, 24_576), 128: range(16_384, 20_480)}  # image size -> seeds that the lite preset did not have
RUN = RunConfig(
    "lite-any",
    model=LITE.model,
    views=replace(LITE.views, views=16, rig=8, rig_elevations=(-10.0, 50.0)),
    train=replace(
        LITE.train,
        stages=(Stage(64, 4500, 8, 5e-4, 50), Stage(128, 1200, 4, 3e-4, 50)),
        sampling=SamplingConfig(inputs=4, more_inputs=(2, 6, 8), pool=12, rig=8, rig_share=0.5),
        start="lite-64",
    ),
    objects=len(OBJECTS[64]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--workers", type=int, default=2, help="processes that render the views")
    given = parser.parse_args()
    folders = [given.out.parent / f"{given.out.name}-views" / str(views.size) for views in RUN.views_of_sizes]
    for folder, views in zip(folders, RUN.views_of_sizes, strict=True):
        write_shards(OBJECTS[views.size], folder, RUN.zeroverse, views, workers=given.workers)
    print(train(RUN, given.out, [ShardSource(folder) for folder in folders]))


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; start this again to go on.")
