"""What the output head makes of its raw numbers, and which numbers a network uses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from ..cameras import Cameras
from .figures import PALETTE

REACH = 8.0  # raw outputs are drawn from -8 to 8
CHANNELS = {"distance t": (0, 1), "colour of a grey pixel": (1, 4), "scale s": (4, 7), "opacity α": (11, 12)}


def head_figure(networks: Mapping[str, torch.nn.Module], raw: Tensor, camera: Cameras) -> Figure:
    """Distance, colour, scale and opacity over the raw output, a curve per network, for the middle pixel of a view.

    networks: by name, each with `activate` (`GSLRM`). raw: outputs [..., 12] whose histogram stands behind the curves. camera:
    one. A dot marks a raw output of zero, where an untrained network starts.
    """
    g = torch.linspace(-REACH, REACH, 321)
    n, row, column = len(g), camera.height // 2, camera.width // 2
    many = Cameras(camera.viewmats.expand(1, n, 4, 4), camera.Ks.expand(1, n, 3, 3), camera.width, camera.height)
    origins, directions = Cameras(camera.viewmats[None], camera.Ks[None], camera.width, camera.height).rays()
    rays = origins.expand(1, n, 3), directions[:, :, row, column].expand(1, n, 3)[:, :, None, None]
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 3), subplot_kw={"xlabel": "raw output g"})
    for (label, network), color, style in zip(networks.items(), PALETTE, ("-", "--", ":", "-.")):
        outputs = g.view(1, n, 1, 1, 1).expand(1, n, 1, 1, 12)
        found = network.activate(outputs, torch.full((1, n, 1, 1, 3), 0.5), many, rays)
        distance = (found.means - rays[0]).norm(dim=-1)
        for panel, value in zip(axes, (distance, found.rgb[..., 0], found.scales[..., 0], found.opacities)):
            panel.plot(g, value[0].detach(), style, color=color, marker="o", markevery=[n // 2], label=label)
    for panel, (title, (begin, end)) in zip(axes, CHANNELS.items()):
        share = torch.histc(raw[..., begin:end].clamp(-REACH, REACH), 64, -REACH, REACH)
        low, high = panel.get_ylim()
        panel.bar(
            torch.linspace(-REACH, REACH, 65)[:-1] + REACH / 64, share / share.max() * high, 0.25, color="#c9d6e2", zorder=0
        )
        panel.set(title=title, ylim=(min(low, 0), high))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(networks))
    return figure
