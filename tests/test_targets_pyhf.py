"""Targets of HistFactory workspaces: the truth is that of pyhf with its NumPy backend."""

import copy
import gc
import gzip
import json
import logging
import lzma
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core.errors import MissingExtraError, SettingError, WorkspaceError
from posterion.sampling import profile
from posterion.targets import from_pyhf
from posterion.targets.kept import keep

pyhf = pytest.importorskip("pyhf", reason="needs pyhf [pyhf]")

REAL = {
    "ATLAS-SUSY-2018-04_SRcombined": (118, None),
    "ATLAS-SUSY-2018-31_BkgOnlyA": (65, None),
    "pyhf-tutorial_bkg_only": (19, "JER_EffectiveNP_9"),
}
LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.9, 1.1]], "inits": [1.0]}


def modifier(kind, name, data=None):
    return {"name": name, "type": kind, "data": data}


def histosys(name, low, high):
    return modifier("histosys", name, {"lo_data": low, "hi_data": high})


def normsys(name, low, high):
    return modifier("normsys", name, {"lo": low, "hi": high})


MU = modifier("normfactor", "mu")
SHAPES = histosys("jes", [9.0, 22.0, 27.0], [12.0, 19.0, 34.0])
EACH = {
    "normfactor": [MU],
    "normsys": [MU, normsys("xs", 0.9, 1.15), normsys("eff", 0.5, 1.4)],
    "a factor that changes its sign": [MU, normsys("wild", 0.01, 105.0)],
    "histosys": [MU, SHAPES],
    "lumi": [modifier("lumi", "lumi")],
    "shapefactor": [modifier("shapefactor", "free")],
    "shapesys": [MU, modifier("shapesys", "unc", [2.0, 3.0, 4.0])],
    "staterror": [MU, modifier("staterror", "stat", [1.0, 2.0, 3.0])],
    "nine normsys": [MU, *(normsys(f"n{i}", 1 - 0.02 * i, 1.01 + 0.03 * i) for i in range(9))],
}


def workspace(channels, counts, *, poi="mu", parameters=(), **more):
    """Channels by name, each samples by name, each its yields and modifiers."""
    return {
        "channels": [
            {
                "name": channel,
                "samples": [
                    {"name": s, "data": data, "modifiers": modifiers}
                    for s, (data, modifiers) in samples.items()
                ],
            }
            for channel, samples in channels.items()
        ],
        "observations": [{"name": k, "data": v} for k, v in counts.items()],
        "measurements": [{"name": "m", "config": {"poi": poi, "parameters": list(parameters)}}],
        "version": "1.0.0",
    } | more


def one(modifiers, *, poi="mu", parameters=(LUMI,), data=(10.0, 20.0, 30.0)):
    return workspace(
        {"SR": {"s": (list(data), modifiers)}},
        {"SR": [12.0, 18.0, 33.0]},
        poi=poi,
        parameters=parameters,
    )


def several():
    stat = modifier("staterror", "stat", [0.5, 0.7])
    norm, lumi = normsys("xs", 0.8, 1.1), modifier("lumi", "lumi")
    return workspace(
        {
            "SR": {
                "signal": ([5.0, 8.0], [MU, lumi, normsys("eff", 0.9, 1.2), stat]),
                "top": ([50.0, 40.0], [norm, histosys("jes", [45.0, 42.0], [56.0, 35.0]), stat]),
                "fake": ([3.0, 0.0], [modifier("shapesys", "fake", [1.0, 0.0])]),
            },
            "CR": {
                "top": (
                    [200.0, 150.0, 70.0],
                    [
                        norm,
                        modifier("shapefactor", "shape"),
                        histosys("jes", [190.0, 150.0, 75.0], [215.0, 147.0, 66.0]),
                    ],
                ),
                "rest": ([9.0, 4.0, 2.0], [lumi, normsys("eff", 1.3, 0.8)]),
            },
            "A": {"only": ([30.0], [modifier("staterror", "one bin", [2.0])])},
        },
        {"SR": [60.0, 51.0], "CR": [205.0, 160.0, 70.0], "A": [28.0]},
        parameters=[LUMI],
    )


def truth(spec, *, settings=None, **options):
    """The model and data of pyhf, by its NumPy backend."""
    more = {} if settings is None else {"modifier_settings": settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        whole = pyhf.Workspace(spec)
        model = whole.model(poi_name=None, **more, **options)
    return model, whole.data(model)


def points(model, count=40, width=1.6):
    """Around the initial values: on either side of where the interpolations change."""
    config = model.config
    rng = np.random.default_rng(1)
    start = np.array(config.suggested_init())
    steps = rng.normal(size=(count, len(start)))
    return np.where(start == 0, width * steps, start * (1 + 0.1 * steps))


def must_equal(spec, target=None, settings=None):
    target = target or from_pyhf(spec, modifier_settings=settings)
    model, data = truth(spec, settings=settings)
    x = points(model)
    free = ~np.array(model.config.suggested_fixed())
    x[:, ~free] = np.array(model.config.suggested_init())[~free]
    with np.errstate(invalid="ignore"):
        expected = np.array([model.logpdf(row, data)[0] for row in x])
        negative = np.array([(model.expected_actualdata(row) < 0).any() for row in x])
    found = target.evaluate(x[:, free])
    assert (found[negative] == -np.inf).all() and negative.sum() < len(x) / 2
    np.testing.assert_allclose(found[~negative], expected[~negative], rtol=1e-12, atol=1e-9)
    slopes_must_agree(target, x[~negative][:, free])


def slopes_must_agree(target, x):
    with jax.enable_x64(True):
        slope = np.asarray(
            jax.jit(jax.grad(lambda x: jnp.sum(target.log_density64(x))))(jnp.asarray(x))
        )
    step = 1e-5
    for i in range(target.dim):
        shift = step * (np.arange(target.dim) == i)
        difference = (target.evaluate(x + shift) - target.evaluate(x - shift)) / (2 * step)
        scale = 1 + np.abs(slope[:, i])
        np.testing.assert_allclose(difference / scale, slope[:, i] / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("modifiers", EACH.values(), ids=EACH)
def test_the_density_is_pyhfs_for_every_modifier(modifiers):
    spec = one(modifiers)
    target = from_pyhf(spec, poi_name=None)
    assert target.log_density.poi is None and target.has_gradient
    must_equal(spec, target)


@pytest.mark.parametrize(
    ("code", "shape"), [("code1", "code0"), ("code1", "code2"), ("code4", "code2")]
)
def test_interpolations(code, shape):
    settings = {"normsys": {"interpcode": code}, "histosys": {"interpcode": shape}}
    must_equal(one([MU, SHAPES, normsys("xs", 0.8, 1.3)]), settings=settings)


def test_several_channels_and_samples():
    spec = several()
    target = from_pyhf(spec, units={"mu": "fb"}, labels={"mu": r"$\mu$"})
    shapes = {p.name: p.shape for p in target.parameters}
    assert shapes["stat"] == (2,) and shapes["one bin"] == (1,) and shapes["mu"] == ()
    assert "fake[0]" in shapes and "fake" not in shapes  # its empty bin is fixed
    assert target.log_density.fixed == {"fake[1]": 1.0} and target.log_density.poi == "mu"
    assert {p.role for p in target.parameters if p.name != "mu"} == {"nuisance"}
    mu = next(p for p in target.parameters if p.name == "mu")
    assert (mu.unit, mu.label, mu.lower, mu.upper) == ("fb", r"$\mu$", 0, 10)
    assert mu.role == "poi" and target.described_parameters[target.names.index("mu")].role == "poi"
    must_equal(spec, target)


def test_constraints_are_priors_and_near_bounds_stay():
    wide = {"name": "stat", "bounds": [[0.2, 3.0]] * 3}
    spec = one(
        [
            MU,
            normsys("xs", 0.9, 1.2),
            modifier("staterror", "stat", [1.0, 9.0, 1.0]),
            modifier("shapesys", "unc", [5.0, 3.0, 4.0]),
            modifier("lumi", "lumi"),
        ],
        parameters=[LUMI, wide],
    )
    kinds = {p.name: p for p in from_pyhf(spec).parameters}
    assert kinds["mu"].prior is None and (kinds["mu"].lower, kinds["mu"].upper) == (0, 10)
    assert kinds["xs"].measure() == "xs ~ Normal(loc=0, scale=1)"
    assert kinds["lumi"].measure() == "lumi ~ Normal(loc=1, scale=0.02)"  # bounds 5 sigma away
    assert (kinds["stat"].lower, kinds["stat"].upper) == (0.2, 3.0)  # 1.8 sigma away
    assert type(kinds["unc"].prior).__name__ == "Gamma" and kinds["unc"].upper is None
    must_equal(spec)


def test_elements_of_different_bounds_are_scalars():
    bounds = {"name": "free", "bounds": [[0.0, 10.0], [0.0, 5.0], [0.0, 10.0]]}
    spec = one([modifier("shapefactor", "free")], parameters=[bounds])
    target = from_pyhf(spec, poi_name=None)
    assert target.names == ("free[0]", "free[1]", "free[2]") and target.parameters[1].upper == 5
    must_equal(spec, target)


def test_fixed_parameters_keep_their_values(caplog):
    fixed = {"name": "xs", "fixed": True, "inits": [0.7]}
    spec = one([MU, normsys("xs", 0.8, 1.3)], parameters=[fixed])
    with caplog.at_level(logging.INFO, "posterion"):
        target = from_pyhf(spec)
    assert target.names == ("mu",) and target.log_density.fixed == {"xs": 0.7}
    assert "'xs': 0.7" in caplog.text
    must_equal(spec, target)


def test_without_bounds_there_are_those_of_pyhf_or_none():
    (mu,) = from_pyhf(one([MU])).parameters
    assert (mu.lower, mu.upper) == (0.0, 10.0)
    free = from_pyhf(bounded(-np.inf, np.inf))
    assert (free.parameters[0].lower, free.parameters[0].upper) == (None, None)
    assert free.unscaled.all()  # where to look is scouted


def test_a_profile_of_what_the_model_has_not_is_an_error():
    target = from_pyhf(one([MU], poi="mu_SIG"))
    with pytest.raises(SettingError, match="no coordinate 'mu_SIG'; there are mu"):
        profile(target, "mu_SIG")


def test_by_name_is_by_coordinates():
    target = from_pyhf(several())
    x = points(truth(several())[0])[:, ~np.array(truth(several())[0].config.suggested_fixed())]
    with jax.enable_x64(True):
        theta = dict(reversed(target.unflatten(jnp.asarray(x)).items()))
        by_name = jax.jit(target.log_density)(theta)
        by_coordinates = jax.jit(target.log_density.at_coordinates)(jnp.asarray(x))
    np.testing.assert_allclose(by_name, by_coordinates, rtol=1e-13)


def test_files_and_patches(tmp_path):
    spec = one([MU])
    for name, opener in [("w.json", open), ("w.json.gz", gzip.open), ("w.json.xz", lzma.open)]:
        with opener(tmp_path / name, "wt") as file:
            json.dump(spec, file)
        assert from_pyhf(tmp_path / name).names == ("mu",)
    extra = {"name": "bsm", "data": [1.0, 2.0, 1.0], "modifiers": [modifier("normfactor", "nu")]}
    patch = [{"op": "add", "path": "/channels/0/samples/1", "value": extra}]
    patched = copy.deepcopy(spec)
    patched["channels"][0]["samples"].append(extra)
    (tmp_path / "patch.json").write_text(json.dumps(patch))
    entry = pyhf.patchset.Patch({"metadata": {"name": "p", "values": [1]}, "patch": patch})
    for given in (patch, tmp_path / "patch.json", str(tmp_path / "patch.json"), entry):
        target = from_pyhf(spec, patch=given)
        assert set(target.names) == {"mu", "nu"}
    must_equal(patched, target)
    assert len(spec["channels"][0]["samples"]) == 1


def test_a_missing_parameter_of_interest_is_logged(caplog):
    target = from_pyhf(one([MU], poi="mu_SIG"))
    assert target.log_density.poi is None and "'mu_SIG'" in caplog.text
    caplog.clear()
    assert from_pyhf(one([MU], poi="mu_SIG"), poi_name="mu").log_density.poi == "mu"
    assert from_pyhf(one([MU], poi="")).log_density.poi is None and not caplog.text
    with pytest.raises(WorkspaceError, match=r"no parameter 'nu' to be of interest.*: mu"):
        from_pyhf(one([MU]), poi_name="nu")


def test_measurements_by_name():
    spec = one([MU, normsys("xs", 0.9, 1.1)])
    fixed = {"poi": "mu", "parameters": [{"name": "xs", "fixed": True}]}
    spec["measurements"].append({"name": "other", "config": fixed})
    assert from_pyhf(spec, measurement="other").names == ("mu",)
    assert from_pyhf(spec, measurement="m").names == ("mu", "xs")
    with pytest.raises(WorkspaceError, match="no measurement 'third'; its measurements: m, other"):
        from_pyhf(spec, measurement="third")


def shorter():
    spec = one([MU])
    spec["observations"][0]["data"] = [1.0]
    return spec


def unobserved():
    spec = several()
    spec["observations"] = spec["observations"][:2]
    return spec


def without(key):
    return {k: v for k, v in one([MU]).items() if k != key}


def counting(count):
    return workspace({"SR": {"s": ([1.0], [MU])}}, {"SR": [count]})


def bounded(*ends):
    return one([MU], parameters=[{"name": "mu", "bounds": [list(ends)]}])


def twice():
    spec = one([MU])
    spec["channels"] *= 2
    return spec


NARROW = LUMI | {"sigmas": [0.0]}
BROKEN = {
    "lacks a key": (without("observations"), "observations"),
    "unknown modifier": (
        one([modifier("wavelet", "w")]),
        "modifier 'w' of the sample 's' in the channel 'SR' has the unknown type 'wavelet'",
    ),
    "a type that is wrong": (one([MU], data=("a", 1.0, 2.0)), "'a' is not of type 'number'"),
    "another version": (one([MU]) | {"version": "9"}, "is of version '9'"),
    "no channel": (one([MU]) | {"channels": []}, "should be non-empty"),
    "two of one name": (twice(), "two channels 'SR'"),
    "negative counts": (counting(-2.0), "'SR' observes -2"),
    "a count that is none": (counting(np.nan), "'SR' observes nan"),
    "no number expected": (one([MU], data=(np.nan, 1.0, 2.0)), "bin 0 .* expects nan"),
    "one bound": (bounded(0.0), r"bounds the parameter 'mu' by \[0.0\]; give \[lower, upper\]"),
    "bounds exchanged": (bounded(5.0, 1.0), r"bounds the parameter 'mu' by \[5.0, 1.0\]"),
    "a bound that is none": (bounded(np.nan, 1.0), "bounds the parameter 'mu' by"),
    "lumi of no width": (one([modifier("lumi", "lumi")], parameters=[NARROW]), "sigmas"),
    "negative yields": (one([MU], data=(10.0, -1.0, 3.0)), "bin 1 of the channel 'SR' expects -1"),
    "nothing expected": (one([MU], data=(10.0, 0.0, 3.0)), "bin 1 .* expects 0 .* observes 18"),
    "empty channel": (workspace({"SR": {}}, {"SR": [1.0]}), "channels"),
    "empty sample": (workspace({"SR": {"s": ([], [MU])}}, {"SR": [1.0]}), "samples"),
    "fewer counts": (shorter(), "observes 1 bins, and its sample 's' has 3"),
    "unobserved": (unobserved(), "'A' has no observation"),
    "factor below zero": (one([normsys("xs", -0.1, 1.1)]), "'xs' of the sample 's' has lo -0.1"),
    "short shape": (one([histosys("jes", [1.0], [2.0])]), "jes"),
    "all fixed": (
        one([MU], parameters=[{"name": "mu", "fixed": True}]),
        "all parameters are fixed",
    ),
    "lumi without a width": (
        one([modifier("lumi", "lumi")], parameters=()),
        "'m' does not give the auxdata, ",
    ),
}


@pytest.mark.parametrize(("spec", "message"), BROKEN.values(), ids=BROKEN)
def test_workspaces_that_are_broken(spec, message):
    with pytest.raises(WorkspaceError, match=message):
        from_pyhf(spec)


def test_files_and_patches_that_are_broken(tmp_path):
    spec, path = one([MU]), tmp_path / "w.json"
    with pytest.raises(WorkspaceError, match=r"w\.json cannot be read"):
        from_pyhf(path)
    path.write_text('{"channels": [')
    with pytest.raises(WorkspaceError, match=r"w\.json is no JSON"):
        from_pyhf(path)
    path.write_text("[1, 2]")
    with pytest.raises(WorkspaceError, match=r"w\.json is a JSON object, got list"):
        from_pyhf(path)
    (tmp_path / "w.json.xz").write_bytes(lzma.compress(b"{}" * 100)[:40])
    with pytest.raises(WorkspaceError, match=r"w\.json\.xz is no JSON, or is cut"):
        from_pyhf(tmp_path / "w.json.xz")
    for patch in (
        [{"op": "replace", "path": "/channels/3/name", "value": "x"}],
        [{"op": "test", "path": "/version", "value": "9"}],
        [{"op": "leap", "path": "/version"}],
        [{"path": "/version"}],
        17,
    ):
        with pytest.raises(WorkspaceError, match="the patch does not apply to the workspace"):
            from_pyhf(spec, patch=patch)
    with pytest.raises(WorkspaceError, match=r"a set of 1: .*names: p"):
        from_pyhf(spec, patch={"patches": [{"metadata": {"name": "p"}, "patch": []}]})
    with pytest.raises(WorkspaceError, match="interpcode 'code9' of 'normsys'"):
        from_pyhf(spec, modifier_settings={"normsys": {"interpcode": "code9"}})


def test_without_pyhf_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyhf", None)
    with pytest.raises(MissingExtraError, match=r"posterion\[pyhf\]"):
        from_pyhf(one([MU]))


def test_flags_and_backends_stay():
    before = jax.config.jax_enable_x64, pyhf.get_backend()
    target = from_pyhf(several())
    target.evaluate(np.ones((3, target.dim)))
    with pytest.raises(WorkspaceError):
        from_pyhf(one([normsys("xs", -1.0, 1.0)]))
    assert (jax.config.jax_enable_x64, pyhf.get_backend()) == before
    assert target.evaluate(np.ones((3, target.dim))).dtype == np.float64
    gc.collect()  # models of other tests would follow the change of backends
    spec = one([MU, SHAPES, normsys("xs", 0.9, 1.2)])
    try:
        pyhf.set_backend("jax")  # which sets JAX's flag
        again = from_pyhf(spec)
        assert pyhf.get_backend()[0].name == "jax" and jax.config.jax_enable_x64
    finally:
        pyhf.set_backend("numpy")
        jax.config.update("jax_enable_x64", before[0])
    must_equal(spec, again)


@pytest.mark.parametrize("name", REAL)
def test_published_workspaces(data_dir, name):
    dim, poi = REAL[name]
    path = data_dir / "pyhf" / f"{name}.json.xz"
    with lzma.open(path) as file:
        spec = json.load(file)
    target = from_pyhf(path)
    assert target.dim == dim and target.log_density.poi == poi
    model, data = truth(spec)
    x = points(model, 20, 0.7)
    with np.errstate(invalid="ignore"):
        expected = np.array([model.logpdf(row, data)[0] for row in x])
    found = target.evaluate(x)
    np.testing.assert_array_equal(np.isnan(expected), found == -np.inf)
    inside = np.isfinite(found)
    assert inside.sum() > 10
    np.testing.assert_allclose(found[inside], expected[inside], rtol=0, atol=1e-9)


def test_a_poisson_constraint_lives_on_after_the_density_was_evaluated():
    """JAX takes the prior's arrays for what it met first; learning and files need them later."""
    sample = {
        "name": "fakes",
        "data": [5.0, 9.0],
        "modifiers": [
            {"name": "mu", "type": "normfactor", "data": None},
            {"name": "each", "type": "shapesys", "data": [1.0, 2.0]},
        ],
    }
    config = {"poi": "mu", "parameters": []}
    workspace = {
        "channels": [{"name": "SR", "samples": [sample]}],
        "observations": [{"name": "SR", "data": [7.0, 8.0]}],
        "measurements": [{"name": "m", "config": config}],
        "version": "1.0.0",
    }
    target = from_pyhf(workspace)
    before = target.evaluate(np.ones((2, 3)))
    assert len(target.kinds) == 3  # needs the moments of the priors
    (prior,) = [p.prior for p in target.parameters if p.name == "each"]
    assert keep(prior).family == "Gamma"  # not in words alone
    np.testing.assert_array_equal(target.evaluate(np.ones((2, 3))), before)
