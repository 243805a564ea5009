"""Pictures: what they show is computed here again, from the artists that are drawn."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import multivariate_normal, norm, vonmises

from fake_results import KAPPA, PHI_MEAN, W_COVARIANCE, W_MEAN, FakeResult, fake_history
from posterion.core.columns import Column
from posterion.core.errors import OutputError, SettingError, ShapeError, ThetaError
from posterion.reports import (
    Layer,
    Line,
    Sampler,
    Truth,
    break_even,
    corner_plot,
    credible_contours,
    effective_samples_plot,
    panel_plot,
    png,
    save_picture,
    training_plot,
)
from posterion.reports.axes import axis_label, dress_axis, unit_text
from posterion.reports.layers import common_windows, mass_levels
from posterion.reports.style import new_figure, style
from posterion.targets import Parameter

N = 40_000
NORMAL = multivariate_normal(W_MEAN, W_COVARIANCE)


@pytest.fixture(autouse=True)
def _settings_stay():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before


@pytest.fixture(scope="module")
def layer():
    return Layer.of(FakeResult(), n=N, seed=1)


def exact_truth():
    gx = np.linspace(-3, 5, 300)
    gp = np.linspace(-np.pi, np.pi, 201)
    plane = np.stack(np.meshgrid(gx, gx - 3, indexing="ij"), -1)
    return Truth(
        {"w[0]": (gx, norm.pdf(gx, 1, 0.5)), "phi": (gp, vonmises.pdf(gp, KAPPA, PHI_MEAN))},
        {("w[0]", "w[1]"): (gx, gx - 3, NORMAL.pdf(plane))},
    )


# --------------------------------------------------------------------------------------- contours


def test_contours_hold_their_share_of_the_draws_and_of_the_truth(layer):
    masses = (0.393, 0.68, 0.95)
    windows = common_windows([layer], layer.columns)
    density, levels = credible_contours(
        layer, "w[0]", "w[1]", (windows["w[0]"], windows["w[1]"]), masses
    )
    held = [np.mean(density.at(layer.x[:, 1:3]) > level) for level in levels]
    np.testing.assert_allclose(held, masses, atol=2 / N)
    exact = NORMAL.pdf(np.stack(np.meshgrid(*density.axes, indexing="ij"), -1))
    contained = [exact[density.values > level].sum() * density.cell for level in levels]
    np.testing.assert_allclose(contained, masses, atol=0.01)


def test_contours_as_drawn_hold_their_share_also_round_the_circle(layer):
    picture = corner_plot(layer, names=["w[0]", "w[1]", "phi"], levels=(0.68, 0.95))
    for axes, columns in ((picture.axes[3], (1, 2)), (picture.axes[6], (1, 3))):
        lines = [c for c in axes.collections if c.get_paths() and not c.filled]
        assert len(lines) == 1
        for path, mass in zip(lines[0].get_paths(), (0.95, 0.68), strict=True):
            if columns == (1, 2):
                inside = path.contains_points(layer.x[:, columns])
                assert inside.mean() == pytest.approx(mass, abs=0.005)
            else:  # the region crosses the cut: two pieces, at the top and at the bottom
                y = path.vertices[:, 1]
                assert y.max() > 3.1
                assert y.min() < -3.1
                assert not ((y > 0) & (y < 1)).any()


def test_weights_move_contours():
    draws = FakeResult().sample(N, seed=2)
    tilt = np.exp(0.4 * draws["w"][:, 0])
    weighted = Layer.of_draws(draws, FakeResult.parameters, weights=tilt, names="w")
    assert weighted.effective == pytest.approx(N * np.exp(-(0.4**2) * 0.25), rel=0.02)
    windows = common_windows([weighted], weighted.columns)
    density = weighted.density(["w[0]"], [windows["w[0]"]])
    exact = norm.pdf(density.axes[0], 1 + 0.4 * 0.25, 0.5)
    assert np.abs(density.values - exact).sum() * density.cell < 0.04


def test_levels_of_an_exact_density_on_an_uneven_grid():
    """Of a standard normal the region of mass p is a disc of density exp(-r^2/2) = 1 - p."""
    x = np.sort(np.concatenate([np.linspace(-6, 6, 301), np.linspace(-1, 1, 150)]))
    y = np.linspace(-6, 6, 403)
    density = norm.pdf(x)[:, None] * norm.pdf(y)
    levels = mass_levels(np.unique(x), y, density[np.unique(x, return_index=True)[1]], (0.5, 0.9))
    np.testing.assert_allclose(levels * 2 * np.pi, (0.5, 0.1), rtol=0.01)


# ----------------------------------------------------------------------------------------- corner


def test_corner_draws_histograms_and_exact_lines_over_them(layer):
    truth = exact_truth()
    picture = corner_plot(layer, truth=truth.marginals, truth2=truth.pairs, title="$x <b>")
    diagonal = picture.axes[5]
    (line,) = diagonal.lines
    np.testing.assert_array_equal(line.get_xdata(), truth.marginals["w[0]"][0])
    np.testing.assert_array_equal(line.get_ydata(), truth.marginals["w[0]"][1])
    assert diagonal.get_title() == "1.00 ± 0.50"
    assert picture.axes[12].get_xlabel() == r"$\Delta m^2$ [$10^{-3}$ eV²]"
    assert picture.axes[8].get_ylabel() == "w[1] [fm]"
    entries = [text.get_text() for text in picture.legends[0].get_texts()]
    assert entries == ["fake", "exact"]
    (low, high), outline = picture.axes[15].get_xlim(), picture.axes[15].lines[0]
    assert (low, high) == pytest.approx((-np.pi, np.pi))
    assert outline.get_xdata().min() < low
    assert outline.get_xdata().max() > high
    assert png(picture) == png(
        corner_plot(layer, truth=truth.marginals, truth2=truth.pairs, title="$x <b>")
    )


def test_the_exact_contour_lies_where_it_should(layer):
    picture = corner_plot(layer, names=["w[0]", "w[1]"], truth2=exact_truth().pairs)
    ours, exact = (c for c in picture.axes[2].collections if not c.filled)
    for path, mass in zip(exact.get_paths(), (0.95, 0.68), strict=True):
        offset = path.vertices - W_MEAN
        distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(W_COVARIANCE), offset)
        np.testing.assert_allclose(distance, -2 * np.log(1 - mass), rtol=0.03)
    assert len(ours.get_paths()) == 2


def test_layers_of_many_columns_are_limited_and_said_so():
    parameters = [Parameter("w", shape=(20,))]
    draws = {"w": np.random.default_rng(0).normal(size=(500, 20))}
    picture = corner_plot(Layer.of_draws(draws, parameters), limit=3)
    assert len(picture.axes) == 9
    assert "3 of 20 columns shown" in picture.legends[0].get_title().get_text()


def test_several_layers_share_columns_and_windows(layer):
    draws = {"w": W_MEAN + np.random.default_rng(0).normal(size=(900, 2)) * 3}
    other = Layer.of_draws(draws, [Parameter("w", shape=(2,), unit="fm")], label="cost in $")
    picture = corner_plot([layer, other])
    assert len(picture.axes) == 4
    assert picture.axes[0].get_xlim()[0] < -5
    png(picture)
    with pytest.raises(ThetaError, match="has no 'phi'"):
        corner_plot([layer, other], names=["phi"])
    with pytest.raises(SettingError, match="no column in common"):
        corner_plot([other, Layer.of(FakeResult(), names="phi", n=10)])
    with pytest.raises(SettingError, match="at least one layer"):
        corner_plot([])
    with pytest.raises(SettingError, match="levels"):
        corner_plot(other, levels=(68,))


@pytest.mark.parametrize("names", ["m", "phi", None])
def test_hard_draws_make_a_picture_without_a_warning(names):
    """Constants, few draws, rows that are not finite, labels that are no mathematics."""
    parameters = [
        Parameter("m", label=r"$\frac{a$"),
        Parameter("phi", unit="$", lower=0.0, upper=360.0, periodic=True),
        Parameter("<b>&", unit="1e-3 eV^2"),
        Parameter("large", unit="MeV"),
    ]
    generator = np.random.default_rng(1)
    draws = {
        "m": np.full(40, 2.0),
        "phi": generator.uniform(0, 360, size=40),
        "<b>&": 1e-9 * generator.exponential(size=40),
        "large": 91187.6 + 1e-3 * generator.normal(size=40),
    }
    draws["phi"][3] = np.nan
    shown = Layer.of_draws(draws, parameters, names=names)
    assert len(shown.x) == (39 if names != "m" else 40)
    png(corner_plot(shown))
    png(panel_plot(shown))
    png(panel_plot(shown, kind="delta_chi2"))
    with pytest.raises(ShapeError, match="none of the draws"):
        Layer.of_draws({"m": [np.nan]}, parameters[:1])


# ----------------------------------------------------------------------------------------- panels


def test_density_panels(layer):
    picture = panel_plot(Layer(layer.columns, layer.x, "flow", truth=exact_truth()))
    shown = [axes for axes in picture.axes if axes.axison]
    assert [axes.get_ylabel() for axes in shown] == [
        "density [1/eV²]",
        "density [1/fm]",
        "density [1/fm]",
        "density [1/rad]",
    ]
    values, edges, _ = shown[1].patches[-1].get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(1, abs=2e-3)
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["flow", "exact"]
    png(picture)


def test_delta_chi2_of_a_normal_is_a_parabola(layer):
    picture = panel_plot(
        [layer, Layer(layer.columns, layer.x + 0.01, "other", truth=exact_truth())],
        names=["w[0]"],
        kind="delta_chi2",
        lines={"w[0]": Line([0, 1, 2], [4, 0, 4], "published")},
    )
    curves = {line.get_label(): line for line in picture.axes[0].lines}
    x, y = curves["fake"].get_data()
    near = np.isfinite(y) & (np.abs(x - 1) < 1.0)
    np.testing.assert_allclose(y[near], ((x[near] - 1) / 0.5) ** 2, atol=0.35)
    assert np.nanmax(y) > 6
    assert np.isnan(y[np.abs(x - 1) > 2.2]).all()  # too few draws to tell
    x, y = curves["exact"].get_data()
    np.testing.assert_allclose(y, ((x - 1) / 0.5) ** 2, atol=0.01)
    assert "published" in curves
    with pytest.raises(ThetaError, match="no panel y"):
        panel_plot(layer, lines={"y": []})
    with pytest.raises(SettingError, match="kind"):
        panel_plot(layer, kind="chi2")


# ----------------------------------------------------------------------------------------- curves


def test_training_curve_shows_the_history():
    history = fake_history()
    history["ess"][0] = np.nan
    history["loss"][0] = 1e6
    picture = training_plot(history, against="calls", goal=0.995)
    loss, ess = picture.axes
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), history["calls"])
    assert loss.get_ylim()[1] < 2  # the first value does not flatten the rest
    assert loss.texts[0].get_text() == "↑ from 1e+06"
    np.testing.assert_allclose(1 - ess.lines[0].get_ydata(), history["ess"][1:])
    assert ess.get_ylim()[0] > ess.get_ylim()[1]  # better is higher
    assert ess.get_xlabel() == "density calls"
    png(picture)
    png(training_plot({"step": [1.0], "loss": [2.0]}))
    png(training_plot({"step": [1, 2], "ess": [np.nan, np.nan]}))
    png(training_plot({"step": np.arange(9), "loss": np.full(9, np.nan), "ess": np.ones(9)}))
    with pytest.raises(SettingError, match="no 'seconds'; it has step, loss"):
        training_plot({"step": [1], "loss": [1]}, against="seconds")
    with pytest.raises(SettingError, match="neither"):
        training_plot({"step": [1]})
    with pytest.raises(ShapeError, match="do not fit"):
        training_plot({"step": [1, 2], "loss": [1.0]})


def test_sampler_by_weights_is_kish():
    log_w = np.random.default_rng(0).normal(size=1000) * 0.3 + 50
    log_w[5] = np.nan
    flow = Sampler.of_weights("flow", log_w, learning_calls=500)
    assert flow.drawn == (10, 30, 100, 300, 1000)
    w = np.where(np.isnan(log_w), 0, np.exp(log_w - 50))
    for n, worth in zip(flow.drawn, flow.effective, strict=True):
        assert worth == pytest.approx(w[:n].sum() ** 2 / np.square(w[:n]).sum())
    assert flow.efficiency == pytest.approx(np.exp(-(0.3**2)), rel=0.03)
    assert flow.cost(100) == pytest.approx(500 + 100 / flow.efficiency)
    with pytest.raises(ShapeError, match="no draw has a usable weight"):
        Sampler.of_weights("flow", [np.nan, -np.inf])
    with pytest.raises(SettingError, match="efficiency must be positive"):
        Sampler("flow", 0.0)


def test_break_even():
    flow = Sampler("flow", 0.5, 1, 10_000, seconds_per_draw=0.0, learning_seconds=10)
    chain = Sampler.of_chain("chain", 50, calls_per_draw=2, seconds_per_draw=0.01)
    crossing = break_even(flow, chain)  # 10000 + 2 n = 100 n
    assert crossing == break_even(chain, flow) == pytest.approx(10_000 / 98)
    assert flow.cost(crossing) == pytest.approx(chain.cost(crossing))
    assert break_even(flow, chain, "seconds") == pytest.approx(20)
    assert break_even(flow, Sampler("better", 1.0)) == np.inf
    assert np.isnan(break_even(flow, Sampler("untimed", 1.0), "seconds"))


def test_figure_of_effective_draws():
    flow = Sampler.of_weights("flow", np.zeros(100_000), learning_calls=1e5)
    chain = Sampler.of_chain("NUTS", 45.0)
    picture = effective_samples_plot([flow, chain])
    left, right = picture.axes
    np.testing.assert_allclose(left.lines[1].get_ydata(), flow.effective)
    x, y = left.lines[3].get_data()
    np.testing.assert_allclose(y, x / 45)
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels[-1].startswith("cheaper than NUTS beyond 2")  # 1e5 / 44
    marker = right.lines[-1]
    assert marker.get_ydata()[0] == pytest.approx(1e5 / 44)
    assert marker.get_xdata()[0] == pytest.approx(1e5 * 45 / 44)
    png(picture)
    png(effective_samples_plot([flow], cost="seconds", title="$"))  # nothing was timed
    with pytest.raises(SettingError, match="0 samplers"):
        effective_samples_plot([])


# ----------------------------------------------------------------------------------- labels, files


def tick_texts(column, lower, upper):
    """Places and texts of the ticks inside the limits, and the axis's label."""
    with style():
        axes = new_figure(3, 2).subplots()
        dress_axis(axes.xaxis, column, lower, upper)
        axes.figure.canvas.draw()
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        shown = {float(x): t.get_text() for x, t in ticks if lower <= x <= upper}
        assert axes.xaxis.get_offset_text().get_text() == ""
    return shown, axes.get_xlabel()


@pytest.mark.parametrize(
    ("column", "ends", "label", "offset", "power"),
    [
        (Column("x", "fm"), (-1.2, 1.2), "x [fm]", 0, 0),
        (Column("s", "", r"$\sin^2$"), (0.0201, 0.0239), r"$\sin^2$", 0, 0),
        (Column("m", "eV²"), (2.38e-3, 2.62e-3), "m [$10^{-3}$ eV²]", 0, -3),
        (Column("m", "1e-3 eV^2"), (0, 4.1e-6), "m [$10^{-9}$ eV$^{2}$]", 0, -6),
        (Column("m", "10⁻³ eV²"), (2e-5, 4.1e-5), "m [$10^{-9}$ eV²]", 0, -6),
        (Column("m", "10⁻³ eV²"), (2.38, 2.62), "m [10⁻³ eV²]", 0, 0),
        (
            Column("M", "MeV"),
            (91187.595, 91187.606),
            "M − 91187.6 [$10^{-3}$ MeV]",
            91187.6,
            -3,
        ),
        (Column("M"), (-1e9 - 3, -1e9 + 3), "M + 1000000000", -1e9, 0),
        (Column("r"), (1.9e6, 4.1e6), "r [$10^{6}$]", 0, 6),
    ],
)
def test_ticks_are_short_and_mean_what_the_label_says(column, ends, label, offset, power):
    shown, said = tick_texts(column, *ends)
    assert said == label
    assert len(shown) >= 2
    for x, text in shown.items():
        assert len(text) <= 6
        value = float(text.replace("\N{MINUS SIGN}", "-")) * 10.0**power + offset
        assert value == pytest.approx(x, rel=1e-12, abs=1e-9 * (ends[1] - ends[0]))


@pytest.mark.parametrize(
    ("unit", "bounds", "ends", "texts"),
    [
        ("deg", (-180.0, 180.0), (-180, 180), "−180 −90 0 90 180"),
        ("deg", (-180.0, 180.0), (150, 210), "160 180 −160"),
        ("rad", (0.0, 2 * np.pi), (0, 2 * np.pi), "0 π/2 π 3π/2 2π"),
        ("rad", (-np.pi, np.pi), (-np.pi, np.pi), "−π −π/2 0 π/2 π"),
    ],
)
def test_ticks_of_angles(unit, bounds, ends, texts):
    shown, _ = tick_texts(Column("phi", unit, None, *bounds, periodic=True), *ends)
    assert list(shown.values()) == texts.split()


def test_labels_that_cannot_be_set_stand_as_they_are():
    assert axis_label(Column("a_$b")) == r"a_\$b"
    assert axis_label(Column("x", label=r"$\nosuch{x}$")) == r"\$\nosuch{x}\$"
    assert unit_text("m s^-1") == "m s$^{-1}$"
    with style():
        figure = new_figure(3, 1)
        for k, text in enumerate((r"a_\$b", r"\$\nosuch{x}\$", unit_text("GeV^{2}"))):
            figure.text(0.1, 0.3 * k, text)
    png(figure)


def test_pictures_are_written_whole_and_read_back(tmp_path, layer):
    picture = corner_plot(layer, names=["w[0]"])
    save_picture(picture, tmp_path / "corner.png", dpi=50)
    pixels = imread(io.BytesIO((tmp_path / "corner.png").read_bytes()))
    assert pixels.shape[:2] == (210, 210)
    assert pixels[..., :3].std() > 0.05
    with pytest.raises(OutputError):
        save_picture(picture, tmp_path / "nowhere" / "corner.png")


def test_pictures_need_no_pyplot(run_python):
    run_python(
        "import numpy as np, sys\n"
        "from posterion.reports import Layer, corner_plot, png\n"
        "from posterion.core.columns import Column\n"
        "x = np.random.default_rng(0).normal(size=(500, 2))\n"
        "png(corner_plot(Layer((Column('a'), Column('b')), x)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )


def test_exact_curves_that_do_not_fit_are_named():
    truth = Truth({"a": ([1, 0], [1, 1]), "b": ([0, 1], [1])}, {("a", "b"): ([0, 1], [0], [[1]])})
    for name in ("a", "b"):
        with pytest.raises(ShapeError, match=f"exact marginal of '{name}'"):
            truth.curve(name)
    with pytest.raises(ShapeError, match="has shape"):
        truth.pair("b", "a")
    assert truth.curve("c") is None
    assert truth.moments(Column("c")) is None
    phi = Column("phi", lower=-np.pi, upper=np.pi, periodic=True)
    mean, sd = exact_truth().moments(phi)
    assert mean == pytest.approx(PHI_MEAN, abs=1e-6)
    assert sd == pytest.approx(0.546, abs=0.002)
