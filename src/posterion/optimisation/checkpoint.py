"""Checkpoints: named arrays and a JSON note in one file, replaced atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from posterion.core import portable
from posterion.core.errors import CheckpointError
from posterion.core.files import write_bytes

_NOTE = "__note__"


class Checkpoint:
    """One file that holds where a long run stands.

    Args:
        path: the file; ``None`` keeps nothing.
        identity: what the run is (target, seed, settings); a file of another run is refused.
    """

    def __init__(self, path: str | Path | None, identity: Mapping[str, Any]):
        self.path = None if path is None else Path(path)
        self.identity = json.loads(portable.dumps(dict(identity)))

    def save(self, note: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Writes the file, replacing the one before only when it is whole."""
        if self.path is None:
            return
        from safetensors.numpy import save

        text = portable.dumps({"identity": self.identity, "note": dict(note)})
        whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        write_bytes(self.path, save(whole, metadata={_NOTE: text}))

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The note and the arrays, or ``None`` where there is no file.

        Raises:
            CheckpointError: unreadable, or of a run with other settings.
        """
        if self.path is None or not self.path.exists():
            return None
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                content = portable.loads(file.metadata()[_NOTE])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} is no readable checkpoint ({error}); remove it and start anew"
            ) from error
        if content["identity"] != self.identity:
            ours, theirs = self.identity, content["identity"]
            keys = {*ours, *theirs}
            changed = sorted(k for k in keys if ours.get(k) != theirs.get(k))
            raise CheckpointError(
                f"{self.path} belongs to another run (different: {', '.join(changed)}); give the "
                f"same settings, or remove it and start anew"
            )
        return content["note"], arrays

    def remove(self) -> None:
        """Deletes the file, when the run has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def leaves_of(tree: PyTree, name: str) -> dict[str, np.ndarray]:
    """The array leaves of a pytree, by numbered names."""
    return {f"{name}.{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def restore(tree: PyTree, name: str, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """A pytree of the structure of ``tree`` with the leaves that were kept under ``name``."""
    leaves, structure = jax.tree.flatten(tree)
    kept = []
    for i, leaf in enumerate(leaves):
        array = arrays.get(f"{name}.{i}")
        if array is None or array.shape != np.shape(leaf):
            raise CheckpointError(f"the checkpoint lacks leaf {i} of {name}; start anew")
        kept.append(jnp.asarray(array, leaf.dtype))
    return jax.tree.unflatten(structure, kept)
