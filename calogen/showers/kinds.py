"""Geometries of all kinds, read from JSON."""

from collections.abc import Callable, Mapping
from typing import Any

from calogen.config import Dataclass, plain_from_json
from calogen.errors import CalogenError, DataFormatError
from calogen.showers.cells import CellGrid, CellLayer
from calogen.showers.geometry import Geometry
from calogen.showers.grid import GridLayer, RegularGrid
from calogen.showers.voxels import VoxelGeometry, VoxelLayer

_MAX_SIZE = 10**7  # cells or voxels of a shower, which would take 80 MB
_GEOMETRIES: Mapping[str, tuple[Callable[..., Geometry], type[Dataclass]]] = {
    "CellGrid": (CellGrid, CellLayer),
    "VoxelGeometry": (VoxelGeometry, VoxelLayer),
    "RegularGrid": (RegularGrid, GridLayer),
}


def geometry_from_json(value: object) -> Geometry:
    """Gives the geometry that `Geometry.to_json` described.

    Raises:
        DataFormatError: the kind is unknown, or the layers do not fit it.
    """
    try:
        if not isinstance(value, Mapping):
            raise TypeError(f"{value!r:.100}")
        kind, name, layers = (value[key] for key in ("kind", "name", "layers"))
        geometry_class, layer_class = _GEOMETRIES[kind]
        more: dict[str, Any] = {}
        if "hit_threshold" in value:  # of grids
            low, high = map(float, value["peak_range"])
            more = {"hit_threshold": float(value["hit_threshold"]), "peak_range": (low, high)}
        geometry = geometry_class(str(name), tuple(plain_from_json(layer_class, layer) for layer in layers), **more)
    except (KeyError, TypeError, ValueError, CalogenError) as error:
        raise DataFormatError(
            f"a geometry needs kind ({', '.join(_GEOMETRIES)}), name and layers. Received: {error!r:.300}"
        ) from error
    sizes = [layer.size for layer in geometry.layers]
    if len(set(geometry.layer_ids)) < max(len(sizes), 1) or min(sizes) < 1 or sum(sizes) > _MAX_SIZE:
        raise DataFormatError(
            f"a geometry needs layers, each once, of 1 to {_MAX_SIZE} cells or voxels in all. "
            f"Received: {geometry.layer_ids!s:.200} with {sizes!s:.200}"
        )
    return geometry
