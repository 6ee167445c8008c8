"""The command line: one command per verb a user has.

lrmzero synthesize --seeds 0:8 --out objects
lrmzero synthesize --seeds 0:400000 --out shards
lrmzero verify shards
lrmzero data gso --out gso
lrmzero photos my_photos --out views
lrmzero render objects/zeroverse_00000000.glb --out views
lrmzero train --preset lite --data shards --out runs/lite
lrmzero grid augmentations --rung smoke --out results
lrmzero evaluate --weights lite-128 --objects objects --protocol gso4 --out results
lrmzero reconstruct mug.glb --out mug
lrmzero fit mug.glb --initial lite-64 --out mug
lrmzero mesh mug/gaussians.ply --out mug.glb --trained-size 64
lrmzero turntable mug/gaussians.ply --out mug.gif
lrmzero convert mug/gaussians.ply mug.spz
lrmzero export lite-128 --out lite-128.onnx
"""

from __future__ import annotations

import os
import sys

import tyro

from ..errors import InputError
from ..train.interruption import Interrupted
from .convert import convert
from .data import data, verify
from .evaluate import evaluate
from .export import export
from .fit import fit
from .grid import grid
from .mesh import mesh
from .network import reconstruct, train
from .objects import render, synthesize
from .photos import photos
from .turntable import turntable

VERBS = (synthesize, verify, data, render, photos, train, grid, evaluate, reconstruct, fit, mesh, turntable, convert, export)
COMMANDS = {verb.__name__: verb for verb in VERBS}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A user's error is one sentence on stderr and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="lrmzero", description=__doc__.split("\n")[0], args=arguments)
    except InputError as error:
        print(f"lrmzero: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except Interrupted as stopped:
        from ..train.parallel import is_first_process

        if is_first_process():
            print(f"lrmzero: {stopped}", file=sys.stderr)
        raise SystemExit(128 + stopped.signal) from None
    except KeyboardInterrupt:
        print("lrmzero: stopped; run the same command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os._exit(0)
