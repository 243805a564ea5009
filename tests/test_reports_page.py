"""The page: it needs no other file, runs nothing, and shows every text as text."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import norm, vonmises

from fake_results import KAPPA, MEAN, PHI_MEAN, SD, FakeResult
from posterion.core.citations import cite
from posterion.core.errors import OutputError, ShapeError
from posterion.core.estimate import Estimate
from posterion.core.status import Status
from posterion.diagnostics import Health
from posterion.reports import (
    Heading,
    Image,
    Layer,
    Page,
    Preformatted,
    Prose,
    Sampler,
    Section,
    Table,
    Truth,
    closing_sections,
    figure_table,
    new_figure,
    posterior_page,
    posterior_sections,
    render_page,
    report,
    style,
    summary_table,
    write_page,
)
from posterion.reports.blocks import cell_text
from posterion.reports.posterior import tone_of
from posterion.studies.base import Figure
from posterion.targets import Parameter

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}{% raw %}"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; fails on a tag that is not closed where it should be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text.append(data)

    def values(self, tag, name):
        return [value for t, n, value in self.attributes if (t, n) == (tag, name)]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def truth():
    m, phi = np.linspace(MEAN - 6 * SD, MEAN + 6 * SD, 400), np.linspace(-np.pi, np.pi, 401)
    return Truth(
        {"m": (m, norm.pdf(m, MEAN, SD)), "phi": (phi, vonmises.pdf(phi, KAPPA, PHI_MEAN))}
    )


@pytest.fixture(scope="module")
def page():
    """Of a result with everything: truth, figures, another sampler, a chain, a study's section."""
    result = FakeResult(target=object(), tilt=0.2)
    return posterior_page(
        result,
        truth=truth(),
        figures={"NO.ess_fraction": Figure(0.9991, published=0.9933, source="the poster")},
        samplers=[Sampler("flow", 0.99, 1, 1e4), Sampler.of_chain("NUTS", 45.0)],
        chains=[Layer.of_draws(result.sample(2000, seed=3), result.parameters, label="NUTS")],
        extra_sections=[Section("Mixing matrix", [Heading("Ranges"), Prose("Three sigma.")])],
        n=20_000,
    )


def test_page_holds_all_its_parts(page):
    reader = Reader(render_page(page))
    assert page.sections[0].title == "Health"
    titles = [section.title for section in page.sections]
    assert titles == [
        "Health",
        "Figures",
        "Posterior",
        "Learning",
        "What the draws are worth",
        "Mixing matrix",
        "Settings",
        "Provenance",
        "Versions",
        "Citations",
    ]
    for said in (
        Status.converged.sentence,
        "effective draws 0.99800 ± 0.00010 >= 0.9 good",
        "Log evidence: 2.0000 ± 0.0010",
        "NO.ess_fraction 0.9991 0.9933 the poster",
        "method default",
        "flow is cheaper than NUTS, learning included, beyond 227 by calls effective draws.",
        " ".join(cite("dinh2017").split()),
    ):
        assert said in reader.words
    assert len(reader.values("img", "src")) == 4


def test_page_needs_no_other_file_and_runs_nothing(page):
    text = render_page(page)
    reader = Reader(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(reader.tags)
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    for tag, name, value in reader.attributes:
        if name in ("src", "href", "srcset", "action", "background"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value)
    assert "url(" not in text
    assert "@import" not in text
    assert "://" not in text.replace("arxiv.org", "")
    assert "default-src 'none'" in reader.values("meta", "content")[1]


def test_every_picture_can_be_read_and_says_what_it_is(page):
    reader = Reader(render_page(page))
    for source, width in zip(
        reader.values("img", "src"), reader.values("img", "width"), strict=True
    ):
        pixels = imread(io.BytesIO(base64.b64decode(source.partition(",")[2])))
        assert pixels.shape[1] == pytest.approx(int(width) * 160 / 96, abs=1)
        assert pixels[..., :3].std() > 0.05
    assert all(reader.values("img", "alt"))


def test_links_of_the_contents_lead_to_sections(page):
    reader = Reader(render_page(page))
    assert [f"#{name}" for name in reader.values("section", "id")] == reader.values("a", "href")


def test_the_same_result_gives_the_same_page():
    first, second = (render_page(posterior_page(FakeResult(), n=2000)) for _ in range(2))
    assert first == second


def test_text_from_users_is_shown_and_not_run(tmp_path):
    class Evil(FakeResult):
        parameters = (Parameter(EVIL, label=r"$\frac{<b>$", unit="</style>$"), Parameter("x"))

        @property
        def health(self):
            return Health(Status.failed, EVIL, reasons=(EVIL,))

        def sample(self, n, *, seed):
            x = np.random.default_rng(seed).normal(size=(2, n))
            return {EVIL: x[0], "x": x[1]}

    result = Evil(name=EVIL, settings={EVIL: EVIL}, provenance={"a": {"b": EVIL}}, history={})
    block = Image.of(plain_figure(), EVIL, EVIL)
    sections = [
        Section(EVIL, [Prose(EVIL), Heading(EVIL), Preformatted(EVIL, EVIL, folded=True), block])
    ]
    made = posterior_page(result, n=500, figures={EVIL: 1.0}, extra_sections=sections, title=EVIL)
    write_page(tmp_path / "page.html", made)
    reader = Reader((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "script" not in reader.tags
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert len(reader.values("img", "src")) == reader.tags.count("img") == 3
    assert reader.text.count(EVIL) >= 8
    assert EVIL in reader.values("img", "alt")
    assert "49" not in reader.words.replace(EVIL, "")


def plain_figure():
    with style():
        figure = new_figure(2, 1)
        figure.subplots().plot([0, 1])
    return figure


def test_a_loaded_result_without_history_has_a_page():
    result = FakeResult(history={}, settings={}, provenance={}, versions={}, citations=())
    titles = [section.title for section in posterior_page(result, n=500).sections]
    assert titles == ["Health", "Posterior"]
    assert not closing_sections(result)
    prefixed = posterior_sections(FakeResult(), prefix="NO: ", n=500)
    assert [section.title for section in prefixed] == [
        "NO: Health",
        "NO: Posterior",
        "NO: Learning",
    ]


def test_tables_put_exact_values_beside_ours():
    result = FakeResult()
    table = summary_table(result.summary(n=20_000), truth(), "caption")
    assert list(table.columns[:6]) == ["parameter", "unit", "mean", "sd", "exact mean", "exact sd"]
    rows = {row[0]: row for row in table.cells}
    assert rows["m"][4] == "0.0025000"
    assert float(rows["phi"][4]) == pytest.approx(PHI_MEAN, abs=1e-3)
    assert rows["w[0]"][4] == "–"
    assert "exact mean" not in summary_table(result.summary(n=100)).columns
    assert table.numeric[:3] == [False, False, True]


def test_figures_may_be_values_mappings_or_things():
    table = figure_table(
        {
            "a": 1.5,
            "b": {"value": 2, "truth": 2.5},
            "c": Figure(3.0, floor=0.1, source="here"),
            "d": Estimate(-1.5, 0.1),
        }
    )
    assert table.columns == ["figure", "ours", "exact", "floor", "source"]
    assert table.cells == [
        ["a", "1.5", "–", "–", "–"],
        ["b", "2", "2.5", "–", "–"],
        ["c", "3", "–", "0.1", "here"],
        ["d", "−1.50\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.10", "–", "–", "–"],
    ]
    assert table.numeric == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (1234567, "1\N{NO-BREAK SPACE}234\N{NO-BREAK SPACE}567"),
        (np.float32(0.5), "0.5"),
        (1e-7, "1·10⁻⁷"),
        (-14.575851, "-14.57585"),
        (float("nan"), "not a number"),
        (float("inf"), "inf"),
        ([1, "a"], "1, a"),
        ({"a": 1}, "a: 1"),
        (np.array([1.5, 2]), "1.5, 2"),
    ],
)
def test_cells(value, text):
    assert cell_text(value) == text


def test_facts_and_shapes_of_tables():
    table = Table.of_facts({"a": {"b": 1, "c": {"d": "x"}}, "e": {}})
    assert table.cells == [["a.b", "1"], ["a.c.d", "x"], ["e", ""]]
    with pytest.raises(ShapeError, match=r"cells \[1, 2\]|of \[1, 2\] cells"):
        Table(["a", "b"], [[1]])
    with pytest.raises(ShapeError, match="no PNG"):
        Image(b"GIF89a", "a picture")


def test_badges_follow_the_status():
    tones = {status: tone_of(status) for status in Status}
    good = [status for status, tone in tones.items() if tone == "good"]
    assert good == [Status.converged, Status.fitted, Status.scored, Status.calibrated]
    assert tones[Status.mode_collapse_suspected] == tones[Status.failed] == "bad"
    assert tones[Status.budget_exhausted] == tones[Status.overconfident] == "warn"
    assert render_page(Page("only a title")).count("<section") == 0


def test_pages_are_written_whole_or_not_at_all(tmp_path):
    report(FakeResult(), tmp_path / "report.html", n=500)
    before = (tmp_path / "report.html").read_bytes()
    assert before.startswith(b"<!DOCTYPE html>")
    with pytest.raises(OutputError):
        write_page(tmp_path / "none" / "report.html", Page("x"))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
