"""Data: the addressable Zeroverse, its rendered shards and streams (LRM-Zero §4.1), object loaders, posed images."""

from .meshes import load_mesh
from .objects import ObjectRef, find_objects, read_splits
from .posed import load_cameras_transforms, load_posed, save_transforms
from .shard_writing import write_shards
from .shards import ShardSource
from .training_views import ViewsConfig
from .zeroverse_dataset import Zeroverse, zeroverse_views

__all__ = [
    "ObjectRef",
    "ShardSource",
    "ViewsConfig",
    "Zeroverse",
    "find_objects",
    "load_cameras_transforms",
    "load_mesh",
    "load_posed",
    "read_splits",
    "save_transforms",
    "write_shards",
    "zeroverse_views",
]
