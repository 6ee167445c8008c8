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
import textwrap
import warnings
from pathlib import Path

import tyro

from .. import __version__
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
GO_ON = {"synthesize", "data", "train", "grid", "evaluate", "fit"}  # keep what is done
COMMANDS = {verb.__name__: verb for verb in VERBS}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A user's error is one sentence on stderr and exit status 2."""
    warnings.formatwarning = _in_one_line
    given = sys.argv[1:] if arguments is None else arguments
    if given in ([], ["-h"], ["--help"]):
        print(overview())
        raise SystemExit(0 if given else 2)
    if given == ["--version"]:
        print(f"lrmzero-lite {__version__}")
        return
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
        then = "run the same command again to go on" if given[0] in GO_ON else "the same command begins anew"
        print(f"lrmzero: stopped; {then}.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"lrmzero: {error.filename} cannot be used ({error.strerror}); check the path and its rights.", file=sys.stderr)
        raise SystemExit(2) from None


def overview() -> str:
    """Every verb with the first sentence of its help."""
    lines = ["usage: lrmzero VERB ...", ""]
    for name, verb in COMMANDS.items():
        sentence = " ".join(verb.__doc__.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        lines += textwrap.wrap(f"{name:<13}{sentence}.", 100, initial_indent="  ", subsequent_indent=" " * 15)
    return "\n".join([*lines, "", "lrmzero VERB --help says the options of a verb, lrmzero --version the version."])


_as_python_does = warnings.formatwarning
_PACKAGE = Path(__file__).resolve().parent.parent


def _in_one_line(message, category, filename, *where) -> str:
    """Our own warnings are for users, who need no line of code."""
    if _PACKAGE in Path(filename).parents:
        return f"lrmzero: {message}\n"
    return _as_python_does(message, category, filename, *where)
