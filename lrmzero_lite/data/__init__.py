"""Data: the addressable Zeroverse, its rendered shards and streams (LRM-Zero §4.1), object loaders, posed images."""

from .canonical import canonical
from .colmap import read_colmap
from .generator_views import from_grid
from .meshes import load_mesh
from .objects import ObjectRef, find_objects, read_splits
from .posed import load_cameras_transforms, load_photos, load_posed, save_transforms
from .shard_writing import write_shards
from .shards import ShardSource
from .training_views import ViewsConfig
from .zeroverse_dataset import Zeroverse, zeroverse_views

__all__ = [
    "ObjectRef",
    "ShardSource",
    "ViewsConfig",
    "Zeroverse",
    "canonical",
    "find_objects",
    "from_grid",
    "load_cameras_transforms",
    "load_mesh",
    "load_photos",
    "load_posed",
    "read_colmap",
    "read_splits",
    "save_transforms",
    "write_shards",
    "zeroverse_views",
]
