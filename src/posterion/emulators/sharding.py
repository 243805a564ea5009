"""Rows divided over devices, of one process or of several, and processes that stay in step.

All but the rows is the same on every device: each runs the whole program with rows of its own, and
what they find is gathered and added in the order of the devices. So the numbers depend on how many
devices there are, and not on which processes they belong to or how these talk to one another.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PyTree

from posterion.core.errors import SettingError
from posterion.core.settings import is_whole

_AXIS = "rows"


def mesh_of(devices: Any) -> Mesh | None:
    """The devices that rows are divided over.

    Args:
        devices: ``"all"`` of all processes, how many of them, one of JAX's or a sequence of
            these; None for no division.

    Raises:
        SettingError: there are no such devices, or not alike, or a process has none of them.
    """
    if devices is None:
        return None
    there = jax.devices()
    chosen: list[Any]
    several = isinstance(devices, Sequence | np.ndarray) and not isinstance(devices, str | bytes)
    if not several and not isinstance(devices, jax.Device):
        count: Any = len(there) if isinstance(devices, str) and devices == "all" else devices
        if not is_whole(count) or not 1 <= count <= len(there):
            raise SettingError(
                f"devices is 'all', a number from 1 to {len(there)}, which JAX has here, or a "
                f"sequence of JAX's devices; got {devices!r}"
            )
        chosen = there[:count]
    else:
        chosen = list(devices) if several else [devices]
        known = chosen and all(isinstance(device, jax.Device) for device in chosen)
        if not known or len(set(chosen)) < len(chosen) or not set(chosen) <= set(there):
            raise SettingError(f"devices holds some of jax.devices(), each once; got {chosen}")
    if len({device.device_kind for device in chosen}) > 1:
        raise SettingError(f"devices must be alike, or they would not stay in step; got {chosen}")
    if {device.process_index for device in chosen} != set(range(jax.process_count())):
        raise SettingError(
            f"each of the {jax.process_count()} processes must have one of the devices at least; "
            f"got {chosen}: give devices='all'"
        )
    return Mesh(np.asarray(chosen), (_AXIS,))


def divided(mesh: Mesh | None, rows: np.ndarray) -> Array:
    """An array whose first axis is divided over the devices; on one process or on all."""
    if mesh is None:
        return jnp.asarray(rows)
    return jax.make_array_from_callback(
        rows.shape, NamedSharding(mesh, P(_AXIS)), lambda index: rows[index]
    )


def over_devices(
    mesh: Mesh | None, function: Callable[..., Array], theta: Array, data: PyTree, *others: Array
) -> Array:
    """The sum over devices of ``function(theta, data, *others)``, each with its own rows.

    Its gradient by ``theta`` is found on the way, so that they talk once for both.
    """
    if mesh is None:
        return function(theta, data, *others)

    def added(function: Callable[..., PyTree], *given: Any) -> PyTree:
        def own(theta: Array, data: PyTree, others: tuple[Array, ...]) -> PyTree:
            # Of theirs alone: JAX adds the gradients by what devices have in common.
            theta = lax.pcast(theta, _AXIS, to="varying")
            found, restored = ravel_pytree(function(theta, data, *others))
            # Not psum, whose order of adding depends on what connects the devices.
            return restored(jnp.sum(lax.all_gather(found, _AXIS, to="invarying"), axis=0))

        specs = P(), P(_AXIS), P()
        return jax.shard_map(own, mesh=mesh, in_specs=specs, out_specs=P())(*given)

    @jax.custom_vjp
    def total(theta: Array, data: PyTree, others: tuple[Array, ...]) -> Array:
        return added(function, theta, data, others)

    def forward(theta: Array, data: PyTree, others: tuple[Array, ...]) -> tuple[Array, Array]:
        return added(jax.value_and_grad(function), theta, data, others)

    def backward(slope: Array, change: Array) -> tuple[Array, None, None]:
        return change * slope, None, None

    total.defvjp(forward, backward)
    return total(theta, data, others)


def everywhere(mesh: Mesh | None, tree: PyTree) -> PyTree:
    """The same, whole on each device: so that every process can look at it."""
    if mesh is None:
        return tree
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, P()))


def first_process(mesh: Mesh | None) -> bool:
    """Whether this process is the one that writes; where rows are not divided, each is."""
    return mesh is None or jax.process_index() == 0


def of_first(mesh: Mesh | None, number: int) -> int:
    """What the first process says, such as a number that comes from its clock."""
    if mesh is None or jax.process_count() == 1:
        return number
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return int(broadcast_one_to_all(np.asarray(number, np.int32)))


def must_agree(mesh: Mesh | None, what: str, *values: Any) -> None:
    """Stops all processes where one has other values; they would wait for one another for ever.

    Args:
        mesh: None does nothing.
        what: the values are, and what to do, for the message.
        values: arrays, or what is told by its ``repr``.

    Raises:
        SettingError: they differ.
    """
    if mesh is None or jax.process_count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    code = 0
    for value in (mesh.device_ids, *values):
        is_array = isinstance(value, np.ndarray)
        code = zlib.crc32(value.tobytes() if is_array else repr(value).encode(), code)
    found = np.asarray(process_allgather(np.asarray(code, np.uint32)))
    if (found != found[0]).any():
        raise SettingError(f"the {jax.process_count()} processes differ in {what}")
