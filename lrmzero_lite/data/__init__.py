"""Data: rendered training shards and streams (LRM-Zero §4.1), object loaders, posed images."""

from .meshes import load_mesh
from .objects import ObjectRef, find_objects, read_splits
from .posed import load_cameras_transforms, load_posed, save_transforms
from .shards import LiveSource, ShardSource, ViewsConfig, write_shards, zeroverse_views

__all__ = [
    "LiveSource",
    "ObjectRef",
    "ShardSource",
    "ViewsConfig",
    "find_objects",
    "load_cameras_transforms",
    "load_mesh",
    "load_posed",
    "read_splits",
    "save_transforms",
    "write_shards",
    "zeroverse_views",
]
