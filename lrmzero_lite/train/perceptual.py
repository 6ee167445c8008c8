"""The perceptual loss: L1 between VGG-19 features of two images (Chen & Koltun 2017, as GS-LRM §3.2 uses it)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..download import cache_folder, download, file_digest
from ..errors import InputError

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
    """Mean L1 on the image (times 255) and on five feature maps, divided by 255. Average pooling between the blocks.

    divide: the network has so many times fewer channels than VGG-19.
    """

    def __init__(self, divide: int = 1) -> None:
        super().__init__()
        sizes = [3] + [c // divide for block in CHANNELS for c in block]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.pool_before = {sum(len(block) for block in CHANNELS[: i + 1]) for i in range(len(CHANNELS) - 1)}
        self.requires_grad_(False)

    def forward(self, images: Tensor, truth: Tensor) -> Tensor:
        """images and truth [n, H, W, 3] in [0, 1]; a scalar, differentiable in `images` alone."""
        loss = 255 * (images - truth).abs().mean()
        with torch.no_grad():  # no activations are kept for the truth
            wanted = self.features(truth)
        for weight, a, b in zip(TAPS.values(), self.features(images), wanted, strict=False):
            loss = loss + weight * (a - b).abs().mean()
        return loss / 255

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps of TAPS, [n, channels, h, w] each; images under 16 pixels have none of the last block."""
        x = (images * 255 - images.new_tensor(MEAN)).permute(0, 3, 1, 2)
        maps = []
        for index, convolution in enumerate(self.convolutions):
            if index in self.pool_before:
                if min(x.shape[-2:]) < 2:
                    break
                x = F.avg_pool2d(x, 2)
            x = F.relu(convolution(x))
            if index in TAPS:
                maps.append(x)
        return maps


def load_perceptual(device: str = "cpu", *, url: str = URL, md5: str = MD5, cache: Path | None = None) -> PerceptualLoss | None:
    """The loss with the public VGG-19 weights, downloaded once (550 MB). None, and one line said, where they cannot be had.

    On a machine without internet, put the file of `url` into `cache`, which is $LRMZERO_CACHE or ~/.cache/lrmzero_lite.
    """
    path = (cache or cache_folder()) / url.rsplit("/", 1)[-1]
    try:
        download(url, path, checksum=md5, attempts=3, progress=True)
        if (found := file_digest(path, md5)) != md5:
            raise InputError(f"{path} has MD5 {found}, expected {md5}; delete it and try again.")
        loss = PerceptualLoss()
        _copy_matconvnet(loss, path)
    except (OSError, InputError) as error:
        print(f"Perceptual loss off: its VGG-19 weights could not be had ({str(error).rstrip('.')}).", flush=True)
        return None
    return loss.to(device).eval()


def random_perceptual(device: str = "cpu", *, divide: int = 8, seed: int = 19) -> PerceptualLoss:
    """The loss with untrained features: the layout of VGG-19, narrower, filters drawn so that activations keep their scale.

    It stands for a perceptual loss where VGG-19 is too slow, or cannot be had: another L1 error over several scales, with
    gradients of the same kind. It knows nothing of images, and weighs an even shift of colour more than a pattern, which a
    trained network does not.
    """
    loss, generator = PerceptualLoss(divide), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for convolution in loss.convolutions:
            fan_in = convolution.weight[0].numel()
            convolution.weight.copy_(torch.randn(convolution.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
            convolution.bias.zero_()
    return loss.to(device).eval()


def _copy_matconvnet(loss: PerceptualLoss, path: Path) -> None:
    """Fill the convolutions from a MatConvNet file, whose filters are stored [height, width, in, out]."""
    from scipy.io import loadmat

    layers = loadmat(path, simplify_cells=True)["layers"]
    filters = [layer["weights"] for layer in layers if layer["type"] == "conv"]
    for convolution, (weight, bias) in zip(loss.convolutions, filters, strict=False):
        convolution.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.transpose(3, 2, 0, 1))))
        convolution.bias.copy_(torch.from_numpy(bias.reshape(-1)))
