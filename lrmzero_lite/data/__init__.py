"""Data: rendered training shards and streams (LRM-Zero §4.1), object loaders, posed images."""

from .shards import LiveSource, ShardSource, ViewsConfig, write_shards, zeroverse_views

__all__ = ["LiveSource", "ShardSource", "ViewsConfig", "write_shards", "zeroverse_views"]
