"""What every export shares: the card beside the files, running them, writing all or none."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from posterion.bundles import parameter_entry
from posterion.core import portable
from posterion.core.errors import ParityWarning
from posterion.core.files import atomic_path
from posterion.core.versions import versions
from posterion.training.exporting_graph import OPSET

__all__ = ["card_of", "session_of", "write_files"]


def card_of(
    result: Any, files: Mapping[str, Any], parity: dict[str, Any], **others: Any
) -> dict[str, Any]:
    """What stands beside the files of any result; ``others`` are its own entries."""
    return {
        "format": "posterion-onnx-1",
        "name": result.name,
        "kind": result.kind,
        "status": result.status.name,
        "health": result.status.sentence,
        "files": dict(files),
        "parameters": [parameter_entry(p) for p in result.parameters],
        **others,
        "parity": parity,
        "opset": OPSET,
        "versions": versions() | {name: version(name) for name in ("onnx", "onnxruntime")},
        "citations": list(result.citations),
        "licence": str(result.provenance.get("licence", "")),
        "publication": result.publication,
    }


def session_of(data: bytes) -> Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]:
    """A file as a function of its inputs by name, to its outputs; other inputs are not looked at.

    Needs onnxruntime.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    return lambda given: session.run(None, {k: v for k, v in given.items() if k in names})


def write_files(
    folder: Path, files: Mapping[str, bytes], card: dict[str, Any], differ: str
) -> dict[str, Any]:
    """Writes files and card, all before the first is put in place; gives the card back.

    Warns:
        ParityWarning: of what the card says to differ more than it should; ``differ`` says by what.
    """
    whole = {**files, "card.json": (portable.dumps(card) + "\n").encode()}
    with ExitStack() as stack:
        for name, data in whole.items():
            stack.enter_context(atomic_path(folder / name)).write_bytes(data)
    if not card["parity"]["within"]:
        text = f"the ONNX files of {card['name']!r} differ from it by up to {differ}"
        warnings.warn(text, ParityWarning, stacklevel=3)
    return card
