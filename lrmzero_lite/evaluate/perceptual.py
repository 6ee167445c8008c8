"""LPIPS with VGG-16 features: a distance between images in the feature space of a trained network.

The 13 convolutions run from plain tensors, so torchvision is not needed. The weights belong to their authors and are
fetched from their public hosts into a cache at first use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..download import cache_folder, download
from ..errors import InputError

STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # VGG-16 convolutions, numbered as in torchvision
SHIFT = (-0.030, -0.088, -0.188)  # LPIPS input scaling, on images in [-1, 1]
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10
MIN_SIZE = 16  # four poolings leave one pixel
VIEWS_PER_PASS = 8


@dataclass(frozen=True)
class Source:
    """A file on a public host. `sha256` is empty when it is not known."""

    file: str
    url: str
    sha256: str = ""


SOURCES = (
    Source(
        "vgg16-397923af.pth",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    Source(
        "lpips-v0.1-vgg.pth",
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/082bb24f84c091ea94de2867d34c4544f68e0963/lpips/weights/v0.1/vgg.pth",
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
)


class Lpips:
    """The LPIPS v0.1 distance (Zhang et al. 2018, arXiv 1801.03924) on given VGG-16 and linear-head weights.

    vgg: state dict with `features.N.weight` [out, in, 3, 3] and `features.N.bias`, N as in STAGES.
    heads: state dict with `linK.model.1.weight` [1, C_K, 1, 1] for the five stages K.
    Raises InputError if a tensor is missing or its shape does not fit.
    """

    def __init__(self, vgg: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
        try:
            pair = lambda n: (vgg[f"features.{n}.weight"].float(), vgg[f"features.{n}.bias"].float())  # noqa: E731
            self.convolutions = [[pair(n) for n in stage] for stage in STAGES]
            self.heads = [heads[f"lin{k}.model.1.weight"].float().reshape(-1) for k in range(len(STAGES))]
        except KeyError as error:
            raise InputError(f"The LPIPS weights lack {error}; delete the cached files and fetch them again.") from error
        channels = 3
        for stage, head in zip(self.convolutions, self.heads, strict=True):
            for weight, bias in stage:
                if weight.shape[1:] != (channels, 3, 3) or bias.shape != weight.shape[:1]:
                    raise InputError(f"An LPIPS convolution has shape {tuple(weight.shape)}, expected [*, {channels}, 3, 3].")
                channels = weight.shape[0]
            if len(head) != channels:
                raise InputError(f"An LPIPS head has {len(head)} weights for {channels} channels; fetch both files again.")

    def features(self, images: Tensor) -> list[Tensor]:
        """Post-ReLU maps at the end of the five stages. images: [V, H, W, 3] in [0, 1]; each map is [V, C, h, w]."""
        like = {"dtype": torch.float32, "device": self.heads[0].device}
        x = images.to(**like).permute(0, 3, 1, 2) * 2 - 1
        x = (x - torch.tensor(SHIFT, **like).view(1, 3, 1, 1)) / torch.tensor(SCALE, **like).view(1, 3, 1, 1)
        maps = []
        for index, stage in enumerate(self.convolutions):
            x = F.max_pool2d(x, 2) if index else x
            for weight, bias in stage:
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            maps.append(x)
        return maps

    def __call__(self, pred: Tensor, true: Tensor) -> Tensor:
        """pred, true: [V, H, W, 3] in [0, 1], at least 16 pixels a side. Returns [V] float32, 0 for equal images."""
        return self.distance_to(true)(pred)

    @torch.no_grad()
    def distance_to(self, true: Tensor) -> Callable[[Tensor], Tensor]:
        """The distance to given images as a function of the others: `true` goes through the network once, not once per method.

        It holds all features of `true`: 20 MB for ten views of 64 pixels, 320 MB for ten of 256.
        """
        if min(true.shape[1:3]) < MIN_SIZE:
            raise InputError(f"LPIPS needs at least {MIN_SIZE} pixels a side, not {min(true.shape[1:3])}; use a larger size.")
        unit = lambda x: x / (x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)  # noqa: E731
        known = [[unit(x) for x in self.features(part)] for part in true.split(VIEWS_PER_PASS)]

        @torch.no_grad()
        def distance(pred: Tensor) -> Tensor:
            parts = []
            for part, maps in zip(pred.split(VIEWS_PER_PASS), known, strict=True):
                stages = zip(self.features(part), maps, self.heads, strict=True)
                squares = (torch.einsum("vchw,c->vhw", (unit(a) - b).square(), w).mean(dim=(1, 2)) for a, b, w in stages)
                parts.append(sum(squares))
            return torch.cat(parts)

        return distance


def fetch(source: Source, folder: Path) -> Path:
    """The file of `source` in `folder`, downloaded if absent. Raises InputError if it cannot be had or is another one."""
    return download(source.url, folder / source.file, checksum=source.sha256 or None, attempts=1, progress=True)


def load_lpips(folder: Path | None = None, sources: tuple[Source, Source] = SOURCES) -> Lpips | None:
    """LPIPS with its published weights, or None after one printed line saying why they cannot be had."""
    folder = cache_folder() if folder is None else folder
    try:
        vgg, heads = (torch.load(fetch(source, folder), map_location="cpu", weights_only=True) for source in sources)
        return Lpips(vgg, heads)
    except Exception as error:  # a damaged file makes torch.load raise errors of many kinds
        why = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    hosts = " and ".join(source.url.split("/")[2] for source in sources)
    print(f"LPIPS is left out: its weights could not be had from {hosts}, cached in {folder} ({why}).", flush=True)
    return None


@functools.cache
def shared_lpips() -> Lpips | None:
    """One network per process, so that a missing host is reported once."""
    return load_lpips()
