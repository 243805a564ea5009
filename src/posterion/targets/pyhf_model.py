"""A target of a HistFactory workspace, as pyhf reads it."""

import bz2
import gzip
import json
import logging
import lzma
import math
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np

from posterion.core.errors import MissingExtraError, WorkspaceError
from posterion.targets.constraints import Constraint
from posterion.targets.histfactory import HistFactory, Rates
from posterion.targets.target import Target

log = logging.getLogger("posterion")

_OPENERS = {".xz": lzma.open, ".gz": gzip.open, ".bz2": bz2.open}
_CODES = {"normsys": ("code1", "code4"), "histosys": ("code0", "code2", "code4p")}


def from_pyhf(
    workspace: Mapping[str, Any] | str | Path,
    *,
    patch: Any = None,
    measurement: str | None = None,
    poi_name: str | EllipsisType | None = ...,
    modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
    name: str | None = None,
    units: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Target:
    """The likelihood of a HistFactory workspace: density and priors add up to pyhf's ``logpdf``.

    Each parameter set is a parameter of its name and shape. A Gaussian constraint becomes its
    normal prior, a Poisson constraint its gamma prior; without a constraint the measure is flat
    between the suggested bounds. A bound that is five standard deviations or more of the
    constraint away is left out: it guards fits, and would bend the support. Fixed parameters keep
    their initial values and are left out, which is logged; of a set that is fixed in part, each
    free element is a parameter of its own, named as in pyhf (``gamma[2]``).

    The density is evaluated by JAX without pyhf, whose backend and whose setting of JAX's 64-bit
    flag stay as they are. Points where a bin expects less than nothing are excluded.

    Each parameter has its ``role``, poi or nuisance; ``target.log_density`` knows ``poi``, the name
    of the parameter of interest or None, and ``fixed``, the values of what is held fixed.

    Args:
        workspace: as a dict, or the path of its JSON file (also ``.xz``, ``.gz``, ``.bz2``).
        patch: JSON patch of the workspace: its list of operations, its file, or an entry of a
            pyhf ``PatchSet``.
        measurement: by name; the first by default.
        poi_name: the parameter of interest; the measurement's by default, None for none. A model
            that lacks the measurement's is built without, which is logged.
        modifier_settings: interpolation, as pyhf takes it; by default
            ``{"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}``.
        name: of the target; the measurement's by default.
        units: of parameters, by name.
        labels: LaTeX ones, by name.

    Returns:
        A differentiable target, batch-first.

    Raises:
        WorkspaceError: the workspace or patch cannot be read, is against the schema or against
            HistFactory's rules, or leaves nothing free; the message says where.
        MissingExtraError: pyhf is not installed.

    >>> sample = {
    ...     "name": "s",
    ...     "data": [5.0],
    ...     "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
    ... }
    >>> target = from_pyhf(
    ...     {
    ...         "channels": [{"name": "SR", "samples": [sample]}],
    ...         "observations": [{"name": "SR", "data": [7.0]}],
    ...         "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    ...         "version": "1.0.0",
    ...     }
    ... )
    >>> target.names, target.log_density.poi
    (('mu',), 'mu')
    """
    pyhf = _pyhf()
    codes = _codes(modifier_settings)
    where, spec = _patched(workspace, patch)
    read, model, observed = _read(pyhf, where, spec, measurement, codes)
    config = model.config
    poi = _poi(where, read, config, poi_name)
    _check_rates(where, model, observed)
    initial = np.asarray(config.suggested_init(), np.float64)
    fixed = np.asarray(config.suggested_fixed(), bool)
    if fixed.all():
        raise WorkspaceError(f"{where}: all parameters are fixed; free one in the measurement")
    held = {config.par_names[i]: float(initial[i]) for i in np.flatnonzero(fixed)}
    if held:
        log.info("%s: fixed, and left out of the target: %s", where, held)
    places = {k: np.arange(config.npars)[config.par_slice(k)] for k in config.par_order}
    parameters, constant = [], 0.0
    for key, own in places.items():
        said: dict[str, Any] = {
            "unit": (units or {}).get(key, ""),
            "label": (labels or {}).get(key),
            "role": "poi" if key == poi else "nuisance",
        }
        constraint = Constraint(config.param_set(key))
        parameters += constraint.parameters(key, ~fixed[own], said)
        constant += constraint.constant(initial[own], fixed[own])
    channels = {channel["name"]: channel for channel in model.spec["channels"]}
    density = HistFactory(
        [parameter.name for parameter in parameters],
        Rates([channels[c] for c in config.channels], places, codes),
        observed,
        initial,
        np.flatnonzero(~fixed),
        constant=constant,
        poi=poi,
        fixed=held,
    )
    return Target(density, parameters, vectorized=True, name=name or str(read["name"]))


def _pyhf() -> Any:
    try:
        import pyhf
    except ImportError as error:
        raise MissingExtraError(
            "reading a HistFactory workspace needs pyhf: pip install 'posterion[pyhf]'"
        ) from error
    return pyhf


def _codes(settings: Mapping[str, Mapping[str, str]] | None) -> dict[str, str]:
    codes = {"normsys": "code4", "histosys": "code4p"}
    for kind, given in (settings or {}).items():
        code = given.get("interpcode", "")
        if code not in _CODES.get(kind, ()):
            raise WorkspaceError(
                f"modifier_settings: interpcode {code!r} of {kind!r} is unknown; known: {_CODES}"
            )
        codes[kind] = code
    return codes


def _loaded(given: str | Path, what: str) -> Any:
    path = Path(given)
    try:
        with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise WorkspaceError(f"{what} {path} cannot be read: {error}") from error
    except (ValueError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise WorkspaceError(f"{what} {path} is no JSON, or is cut: {error}") from error


def _patched(workspace: Any, patch: Any) -> tuple[str, dict[str, Any]]:
    """What to call the workspace, and its specification."""
    where = "the workspace"
    if isinstance(workspace, str | Path):
        where += f" {Path(workspace).name}"
        workspace = _loaded(workspace, "the workspace")
    if not isinstance(workspace, Mapping):
        raise WorkspaceError(f"{where} is a JSON object, got {type(workspace).__name__}")
    if patch is None:
        return where, dict(workspace)
    import jsonpatch
    from jsonpointer import JsonPointerException

    if isinstance(patch, str | Path):
        patch = _loaded(patch, "the patch")
    if isinstance(patch, Mapping) and "patches" in patch:
        known = [entry.get("metadata", {}).get("name") for entry in patch["patches"]]
        raise WorkspaceError(
            f"the patch is a set of {len(known)}: give one, pyhf.PatchSet(...)[name]; names: "
            f"{', '.join(map(str, known))}"
        )
    patch = patch.get("patch") if isinstance(patch, Mapping) else patch
    try:
        ready = patch if isinstance(patch, jsonpatch.JsonPatch) else jsonpatch.JsonPatch(patch)
        return f"{where}, patched", ready.apply(dict(workspace))
    except (
        jsonpatch.JsonPatchException,
        JsonPointerException,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise WorkspaceError(
            f"the patch does not apply to {where}: {type(error).__name__}: {error}; is it that "
            f"workspace's?"
        ) from error


def _read(
    pyhf: Any, where: str, spec: dict[str, Any], measurement: str | None, codes: Mapping[str, str]
) -> tuple[Mapping[str, Any], Any, np.ndarray]:
    """The measurement, the model as pyhf parses it, and the counts in its bins."""
    settings = {kind: {"interpcode": code} for kind, code in codes.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # Of jsonschema, whose RefResolver pyhf 0.7 uses.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            whole = pyhf.Workspace(spec)
        except pyhf.exceptions.InvalidSpecification as error:
            raise WorkspaceError(f"{where}: {_against(spec, pyhf) or error}") from error
        except pyhf.exceptions.SchemaNotFound as error:
            raise WorkspaceError(
                f"{where} is of version {spec.get('version')!r}, which pyhf does not know; make it "
                f'"1.0.0"'
            ) from error
        if measurement is not None and measurement not in whole.measurement_names:
            raise WorkspaceError(
                f"{where} has no measurement {measurement!r}; its measurements: "
                f"{', '.join(whole.measurement_names)}"
            )
        read = whole.get_measurement(measurement)
        _check_lengths(where, whole)
        _check_bounds(where, read)
        _check_lumi(where, whole, read)
        try:
            model = whole.model(measurement, poi_name=None, modifier_settings=settings)
        except Exception as error:  # pyhf's own and, of unequal lengths, NumPy's
            raise WorkspaceError(f"{where}: {type(error).__name__}: {error}") from error
        return read, model, np.asarray(whole.data(model, include_auxdata=False), np.float64)


def _against(spec: Mapping[str, Any], pyhf: Any) -> str | None:
    """In words, the first modifier of a type that there is not; None where all are known."""
    known = sorted(pyhf.modifiers.histfactory_set)
    try:
        for channel in spec["channels"]:
            for sample in channel["samples"]:
                for modifier in sample["modifiers"]:
                    if modifier["type"] not in known:
                        return (
                            f"the modifier {modifier.get('name')!r} of the sample "
                            f"{sample['name']!r} in the channel {channel['name']!r} has the "
                            f"unknown type {modifier['type']!r}; known: {', '.join(known)}"
                        )
    except (LookupError, TypeError, AttributeError):
        pass  # of another form altogether: the schema says it
    return None


def _check_bounds(where: str, read: Mapping[str, Any]) -> None:
    for given in read["config"]["parameters"]:
        for ends in given.get("bounds", ()):
            if len(ends) != 2 or not ends[0] < ends[1]:
                raise WorkspaceError(
                    f"{where}: the measurement {read['name']!r} bounds the parameter "
                    f"{given['name']!r} by {ends}; give [lower, upper], or leave the bounds out"
                )


def _check_lengths(where: str, whole: Any) -> None:
    names = [channel["name"] for channel in whole["channels"]]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WorkspaceError(f"{where} has two channels {twice[0]!r}; rename one")
    for channel in whole["channels"]:
        place = f"{where}: the channel {channel['name']!r}"
        if channel["name"] not in whole.observations:
            raise WorkspaceError(f"{place} has no observation; add it to the observations")
        counts = whole.observations[channel["name"]]
        wrong = [count for count in counts if not 0 <= count < math.inf]
        if wrong:
            raise WorkspaceError(f"{place} observes {wrong[0]:g}; counts are finite, not negative")
        for sample in channel["samples"]:
            if len(sample["data"]) != len(counts):
                raise WorkspaceError(
                    f"{place} observes {len(counts)} bins, and its sample {sample['name']!r} has "
                    f"{len(sample['data'])}"
                )
            for modifier in sample["modifiers"]:
                ends = modifier["data"] if modifier["type"] == "normsys" else {"lo": 1, "hi": 1}
                if min(ends["lo"], ends["hi"]) <= 0:
                    raise WorkspaceError(
                        f"{place}: the normsys {modifier['name']!r} of the sample "
                        f"{sample['name']!r} has lo {ends['lo']:g} and hi {ends['hi']:g}; its "
                        f"factors are positive"
                    )


def _check_lumi(where: str, whole: Any, read: Mapping[str, Any]) -> None:
    given = {p["name"]: p for p in read["config"]["parameters"]}.get("lumi", {})
    lacks = [key for key in ("auxdata", "sigmas", "inits", "bounds") if key not in given]
    if lacks and ("lumi", "lumi") in whole.modifiers:
        raise WorkspaceError(
            f"{where}: the measurement {read['name']!r} does not give the {', '.join(lacks)} of "
            f"the parameter 'lumi'; add them to its parameters"
        )
    if not all(width > 0 for width in given.get("sigmas", ())):
        raise WorkspaceError(
            f"{where}: the parameter 'lumi' has the sigmas {given['sigmas']}; they are positive"
        )


def _check_rates(where: str, model: Any, observed: np.ndarray) -> None:
    """No bin may, at the initial values, expect less than nothing, or nothing where some came."""
    config = model.config
    with np.errstate(all="ignore"):
        rates = np.asarray(model.expected_actualdata(config.suggested_init()))
    bins = [(c, b) for c in config.channels for b in range(config.channel_nbins[c])]
    for (channel, b), rate, count in zip(bins, rates, observed, strict=True):
        if not (rate > 0 or rate == count == 0):
            raise WorkspaceError(
                f"{where}: bin {b} of the channel {channel!r} expects {rate:g} at the initial "
                f"values and observes {count:g}: negative yields, or none; merge or mend the bin"
            )


def _poi(where: str, read: Mapping[str, Any], config: Any, given: Any) -> str | None:
    own = given is ...
    poi = (read["config"]["poi"] or None) if own else given
    if poi is None or poi in config.par_order:
        return poi
    if not own:
        raise WorkspaceError(
            f"{where} has no parameter {poi!r} to be of interest; its parameters: "
            f"{', '.join(config.par_order)}"
        )
    log.warning(
        "%s: the measurement's parameter of interest, %r, is none of the model's (is a patch "
        "missing?); the target has no parameter of interest",
        where,
        poi,
    )
    return None
