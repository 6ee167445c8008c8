"""The perceptual loss: L1 between VGG-19 features of two images (Chen & Koltun 2017, as GS-LRM §3.2 uses it)."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..files import atomic_path

URL = "https://www.vlfeat.org/matconvnet/models/imagenet-vgg-verydeep-19.mat"
MD5 = "106118b7cf60435e6d8e04f6a6dc3657"
CHANNELS = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512))  # conv1_1 to conv5_2
TAPS = {  # layer, counted from 0 over all convolutions -> weight: relu1_2, 2_2, 3_2, 4_2, 5_2 (public code of FaceLift)
    1: 1 / 2.6,
    3: 1 / 4.8,
    5: 1 / 3.7,
    9: 1 / 5.6,
    13: 10 / 1.5,
}
MEAN = (123.68, 116.779, 103.939)


class PerceptualLoss(nn.Module):
    """Mean L1 on the image (times 255) and on five feature maps, divided by 255. Average pooling between the blocks."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [3] + [c for block in CHANNELS for c in block]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.pool_before = {sum(len(block) for block in CHANNELS[: i + 1]) for i in range(len(CHANNELS) - 1)}
        self.requires_grad_(False)

    def forward(self, images: Tensor, truth: Tensor) -> Tensor:
        """images and truth [n, H, W, 3] in [0, 1]; a scalar."""
        mean = images.new_tensor(MEAN)
        both = torch.cat([images, truth]) * 255
        x = (both - mean).permute(0, 3, 1, 2)
        loss = (both[: len(images)] - both[len(images) :]).abs().mean()
        for index, convolution in enumerate(self.convolutions):
            if index in self.pool_before:
                if min(x.shape[-2:]) < 2:
                    break  # images under 32 pixels end before the last block
                x = F.avg_pool2d(x, 2)
            x = F.relu(convolution(x))
            if index in TAPS:
                loss = loss + TAPS[index] * (x[: len(images)] - x[len(images) :]).abs().mean()
        return loss / 255


def load_perceptual(device: str = "cpu", *, url: str = URL, md5: str = MD5, cache: Path | None = None) -> PerceptualLoss | None:
    """The loss with the public VGG-19 weights, downloaded once (550 MB). None, and one line said, where they cannot be had."""
    cache = cache or Path(os.environ.get("LRMZERO_CACHE", Path.home() / ".cache" / "lrmzero_lite"))
    path = cache / url.rsplit("/", 1)[-1]
    try:
        if not path.exists():
            with urllib.request.urlopen(url, timeout=30) as response, atomic_path(path) as temporary:
                with open(temporary, "wb") as file:
                    while block := response.read(1 << 20):
                        file.write(block)
                _check_md5(temporary, md5, url)
        _check_md5(path, md5, url)
        loss = PerceptualLoss()
        _copy_matconvnet(loss, path)
    except (OSError, urllib.error.URLError, InputError) as error:
        print(f"Perceptual loss off: the VGG-19 weights could not be had from {url} ({error}).")
        return None
    return loss.to(device).eval()


def _check_md5(path: Path, expected: str, url: str) -> None:
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    if digest != expected:
        raise InputError(f"{path} has MD5 {digest}, but {url} should give {expected}; delete it and try again.")


def _copy_matconvnet(loss: PerceptualLoss, path: Path) -> None:
    """Fill the convolutions from a MatConvNet file, whose filters are stored [height, width, in, out]."""
    from scipy.io import loadmat

    layers = loadmat(path, simplify_cells=True)["layers"]
    filters = [layer["weights"] for layer in layers if layer["type"] == "conv"]
    for convolution, (weight, bias) in zip(loss.convolutions, filters, strict=False):
        convolution.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.transpose(3, 2, 0, 1))))
        convolution.bias.copy_(torch.from_numpy(bias.reshape(-1)))
