"""Mixing matrix, CP violation, effective masses and their ranges."""

import dataclasses
import importlib.util

import numpy as np
import pytest

import neutrino_tables as synthetic
from posterion.core.errors import SettingError
from posterion.studies.neutrinos import physics
from posterion.studies.neutrinos.published import PUBLISHED_MIXING, PUBLISHED_RANGES
from posterion.studies.neutrinos.ranges import parameter_range, profile_range
from posterion.studies.neutrinos.releases import load_release
from posterion.studies.neutrinos.tables import read_tables

needs_flavorpy = pytest.mark.skipif(
    importlib.util.find_spec("flavorpy") is None, reason="needs flavorpy [nufit]"
)


@pytest.fixture(scope="module")
def theta():
    rng = np.random.default_rng(5)
    theta = {f"sin2_theta{p}": rng.uniform(0.0, 1.0, 200) for p in ("12", "13", "23")}
    theta["delta_CP"] = rng.uniform(-180, 180, 200)
    theta["log10_Dm2_21"] = rng.normal(-4.13, 0.01, 200)
    theta["Dm2_3l"] = rng.normal(2.5, 0.03, 200)
    return theta


def product_matrix(theta, i):
    """U = R23 U13(delta) R12 of one draw, multiplied out by NumPy."""

    def angle(pair):
        return np.arcsin(np.sqrt(theta[f"sin2_theta{pair}"][i]))

    def turn(a, b, angle, phase=0.0):
        matrix = np.eye(3, dtype=complex)
        matrix[a, a] = matrix[b, b] = np.cos(angle)
        matrix[a, b] = np.sin(angle) * np.exp(-1j * phase)
        matrix[b, a] = -np.sin(angle) * np.exp(1j * phase)
        return matrix

    delta = np.deg2rad(theta["delta_CP"][i])
    return turn(1, 2, angle("23")) @ turn(0, 2, angle("13"), delta) @ turn(0, 1, angle("12"))


def test_mixing_matrix_and_jarlskog_against_the_product_of_rotations(theta):
    magnitudes, invariant = physics.mixing_magnitudes(theta), physics.jarlskog(theta)
    assert magnitudes.shape == (200, 3, 3)
    for i in range(0, 200, 10):
        u = product_matrix(theta, i)
        np.testing.assert_allclose(magnitudes[i], np.abs(u), atol=1e-12)
        j = -np.imag(u[0, 0] * u[1, 1] * np.conj(u[0, 1]) * np.conj(u[1, 0]))
        assert abs(invariant[i]) == pytest.approx(abs(j), abs=1e-12)
        # the convention of the Particle Data Group: Im(U_mu3 U_e3* U_e2 U_mu2*) > 0 with sin delta
        j = np.imag(u[1, 2] * np.conj(u[0, 2]) * u[0, 1] * np.conj(u[1, 1]))
        assert invariant[i] == pytest.approx(j, abs=1e-12)
    np.testing.assert_allclose((magnitudes**2).sum(1), 1.0)
    np.testing.assert_allclose((magnitudes**2).sum(2), 1.0)
    assert (np.abs(invariant) <= physics.jarlskog_max(theta)).all()
    assert physics.jarlskog_max(theta).max() <= 1 / (6 * np.sqrt(3))


def test_masses_have_the_measured_splittings(theta):
    solar, large = 10 ** theta["log10_Dm2_21"], 1e-3 * theta["Dm2_3l"]
    normal = physics.masses(0.03, theta, "NO")
    np.testing.assert_allclose(normal[:, 0], 0.03)
    np.testing.assert_allclose(normal[:, 1] ** 2 - normal[:, 0] ** 2, solar, rtol=1e-9)
    np.testing.assert_allclose(normal[:, 2] ** 2 - normal[:, 0] ** 2, large, rtol=1e-9)
    inverted = physics.masses(np.full(200, 0.03), {**theta, "Dm2_3l": -theta["Dm2_3l"]}, "IO")
    np.testing.assert_allclose(inverted[:, 2], 0.03)
    np.testing.assert_allclose(inverted[:, 1] ** 2 - inverted[:, 0] ** 2, solar, rtol=1e-9)
    np.testing.assert_allclose(inverted[:, 2] ** 2 - inverted[:, 1] ** 2, -large, rtol=1e-9)
    with pytest.raises(SettingError, match="it is NO or IO"):
        physics.masses(0.0, theta, "normal")


def test_effective_masses_against_sums_over_the_matrix(theta):
    mass = physics.masses(0.01, theta, "NO")
    phases = physics.majorana_phases(200, seed=1)
    beta, double = physics.m_beta(mass, theta), physics.m_betabeta(mass, theta, phases)
    for i in range(0, 200, 10):
        row = np.abs(product_matrix(theta, i)[0]) ** 2
        assert beta[i] == pytest.approx(np.sqrt((row * mass[i] ** 2).sum()))
        turned = np.exp(1j * np.array([0.0, *phases[:, i]]))
        assert double[i] == pytest.approx(abs((row * mass[i] * turned).sum()))
    degenerate = np.full((200, 3), 0.2)
    np.testing.assert_allclose(physics.m_beta(degenerate, theta), 0.2)


def test_band_of_all_phases_is_attained_and_never_left(theta):
    mass = physics.masses(0.004, theta, "NO")
    low, high = physics.m_betabeta_band(mass, theta)
    assert (low == 0.0).any() and (low > 0.0).any()
    grid = np.linspace(0.0, 2 * np.pi, 181)
    a, b = (x.reshape(-1, 1) for x in np.meshgrid(grid, grid))
    every = physics.m_betabeta(mass[None], {k: v[None] for k, v in theta.items()}, np.stack([a, b]))
    assert (every >= low - 1e-15).all() and (every <= high + 1e-15).all()
    np.testing.assert_allclose(every.max(0), high, rtol=1e-12)
    np.testing.assert_allclose(every.min(0), low, atol=0.03 * 0.05)
    certain = low > 0.002
    np.testing.assert_allclose(every.min(0)[certain], low[certain], rtol=1e-3)


def test_phases_are_uniform_and_follow_the_seed():
    phases = physics.majorana_phases(20_000, seed=7)
    assert phases.shape == (2, 20_000)
    assert abs(np.exp(1j * phases).mean(axis=1)).max() < 4 / np.sqrt(20_000)
    np.testing.assert_array_equal(phases, physics.majorana_phases(20_000, seed=7))


def test_interval_and_curves_against_the_lightest_mass(theta):
    draws = np.random.default_rng(0).normal(size=400_000)
    np.testing.assert_allclose(physics.interval(draws), [-3, 3], atol=0.06)
    curves = physics.against_lightest(theta, "NO", np.array([0.0, 0.01, 0.1]), seed=2)
    for name, curve in curves.items():
        assert curve.shape == (2, 3), name
        assert (curve[0] <= curve[1]).all()
    assert (curves["band"][0] <= curves["m_betabeta"][0] + 1e-12).all()
    assert (curves["band"][1] >= curves["m_betabeta"][1] - 1e-12).all()
    assert (np.diff(curves["m_beta"], axis=1) > 0).all()


# ---- ranges


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranges")
    return read_tables(synthetic.write_tables(folder / "x-NO.txt", "NO"))


def linear(theta):
    first = theta["sin2_theta12"] - 2 * theta["sin2_theta13"] + 0.5 * theta["sin2_theta23"]
    return np.stack([first, -theta["sin2_theta12"]], axis=-1)


@pytest.mark.parametrize("level", [1.0, 9.0])
def test_the_profile_range_of_a_linear_quantity_is_exact(tables, level):
    sd = synthetic.SD
    scale = np.sqrt(level) * np.array(
        [
            np.hypot(np.hypot(sd["sin2_theta12"], 2 * sd["sin2_theta13"]), sd["sin2_theta23"] / 2),
            sd["sin2_theta12"],
        ]
    )
    mean = linear({n: np.array([v]) for n, v in synthetic.MEAN.items()})[0]
    found = profile_range(tables, linear, level)
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found, [mean - scale, mean + scale], atol=2e-4 * scale.max())


def test_the_profile_range_on_the_circle(tables):
    found = profile_range(
        tables, lambda t: np.cos(np.deg2rad(t["delta_CP"] - synthetic.CENTRE)), 4.0
    )
    np.testing.assert_allclose(found, [1 - 4.0 / (2 * synthetic.KAPPA), 1.0], atol=1e-4)


def test_the_profile_range_over_both_orderings_uses_the_offsets(tables):
    sd = synthetic.SD["sin2_theta12"]
    blocks = {}
    for names, block in tables.blocks.items():
        axes = [a + 2 * sd * (n == "sin2_theta12") for n, a in zip(names, block.axes, strict=True)]
        blocks[names] = dataclasses.replace(block, axes=tuple(axes))
    other = dataclasses.replace(tables, ordering="IO", offset=5.0, blocks=blocks)
    far = dataclasses.replace(other, offset=9.5)
    mean = synthetic.MEAN["sin2_theta12"]

    def quantity(theta):
        return theta["sin2_theta12"]

    found = profile_range([tables, other], quantity)
    np.testing.assert_allclose(found, [mean - 3 * sd, mean + (2 + np.sqrt(4)) * sd], atol=1e-3 * sd)
    found = profile_range([far, tables], quantity)
    np.testing.assert_allclose(found, [mean - 3 * sd, mean + 3 * sd], atol=1e-3 * sd)


def test_the_range_of_one_parameter(tables):
    mean, sd = synthetic.MEAN["sin2_theta13"], synthetic.SD["sin2_theta13"]
    found = parameter_range(tables, "sin2_theta13")
    np.testing.assert_allclose(found, [mean - 3 * sd, mean + 3 * sd], atol=1e-3 * sd)
    found = parameter_range(tables, "delta_CP", 2 * synthetic.KAPPA)
    assert np.diff(found)[0] == pytest.approx(180.0, abs=0.05)
    assert sum(found) / 2 % 360 == pytest.approx(synthetic.CENTRE % 360, abs=0.05)
    found = parameter_range(tables, "delta_CP", 4 * synthetic.KAPPA + 0.1)
    assert np.diff(found)[0] == pytest.approx(360.0)


@needs_flavorpy
@pytest.mark.parametrize("release", PUBLISHED_RANGES)
def test_the_ranges_of_the_releases_are_the_published_ones(release):
    last_digit = {"sin2_theta13": 5e-5, "delta_CP": 1.0, "log10_Dm2_21": 6e-4}
    for ordering in ("NO", "IO"):
        tables = load_release(release, ordering)
        for name, (best, *wanted) in PUBLISHED_RANGES[release][ordering].items():
            found = np.array(parameter_range(tables, name))
            np.testing.assert_allclose(found, wanted, atol=1.01 * last_digit.get(name, 1e-3))
            assert found[0] < best < found[1]


@needs_flavorpy
def test_the_mixing_matrix_of_release_52_is_the_published_one():
    tables = [load_release("5.2", ordering) for ordering in ("NO", "IO")]
    rows, columns = [0, 1, 1, 2], [1, 1, 2, 0]  # four of the nine, for speed

    def some(theta):
        return physics.mixing_magnitudes(theta)[:, rows, columns]

    found = profile_range(tables, some)
    np.testing.assert_allclose(found.T, PUBLISHED_MIXING["5.2"][rows, columns], atol=1.01e-3)
