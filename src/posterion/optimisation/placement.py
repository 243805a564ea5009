"""Where arrays live when training is shared by several devices, of one process or of many."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from posterion.core.errors import SettingError


class Placement:
    """Batches shared among devices, everything else on each of them.

    The compiler adds the gradients up: the result is that of one device, up to the order of sums.

    Args:
        devices: of this process and, after ``jax.distributed.initialize``, of the others; ``None``
            leaves everything where it is.

    Raises:
        SettingError: no devices.
    """

    def __init__(self, devices: Sequence[Any] | None):
        self.mesh: Mesh | None = None
        if devices is not None:
            if len(devices) == 0:
                raise SettingError("devices must name at least one device, or be None")
            self.mesh = Mesh(np.array(devices), ("batch",))

    @property
    def count(self) -> int:
        """Number of devices that share a batch."""
        return 1 if self.mesh is None else self.mesh.size

    def everywhere(self, tree: PyTree) -> PyTree:
        """The arrays of a tree, on every device."""
        return jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def fetched(self, tree: PyTree) -> PyTree:
        """What is on every device as arrays of this process alone."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)), tree)

    def shared(self, array: np.ndarray, axis: int) -> Any:
        """An array whose ``axis`` is divided among the devices."""
        return self._put(array, PartitionSpec(*[None] * axis, "batch"))

    def _put(self, leaf: Any, spec: PartitionSpec) -> Any:
        if self.mesh is None or not hasattr(leaf, "shape"):
            return jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf
        whole = np.asarray(leaf)
        sharding = NamedSharding(self.mesh, spec)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
