"""Verbs of a result that rooms on a higher floor carry out, found when they are called.

`core` imports nothing above it. A verb such as ``result.corner()`` stands in the table below as
``"module:function"``; the module is imported at the first call, and the function gets the result
as its first argument.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from posterion.core.errors import SettingError

__all__ = ["PROVIDERS", "provider"]

PROVIDERS = {
    "calibration_plot": "posterion.reports.calibration:calibration_plot",
    "closure_plot": "posterion.reports.closure:closure_plot",
    "contours": "posterion.reports.contours:contours",
    "corner": "posterion.reports.posterior:corner",
    "distil": "posterion.emulators.distilling:distil",
    "emulator_report": "posterion.reports.emulator:report",
    "export_emulator": "posterion.emulators.exporting:export_emulator",
    "export_onnx": "posterion.training.exporting:export_onnx",
    "next_points": "posterion.emulators.design:next_points",
    "publish": "posterion.bundles.publication:publish",
    "reinterpret": "posterion.training.reweighting:reinterpret",
    "report": "posterion.reports.posterior:report",
    "reweight": "posterion.emulators.reweighting:reweight",
}
"""Verb to ``"module:function"``."""


def provider(verb: str) -> Callable[..., Any]:
    """The function that carries out a verb: ``function(result, ...)``.

    Raises:
        SettingError: no such verb.
    """
    if verb not in PROVIDERS:
        raise SettingError(f"there is no verb {verb!r}; known: {', '.join(PROVIDERS)}")
    module, _, function = PROVIDERS[verb].partition(":")
    return getattr(import_module(module), function)
