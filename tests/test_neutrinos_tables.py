"""NuFIT's tables: what is read, and every way in which a file can be bad."""

import gzip
import importlib.util
import lzma

import numpy as np
import pytest

import neutrino_tables as synthetic
from posterion.core.errors import MissingExtraError, TableError
from posterion.studies.neutrinos.releases import CARRIED, find_release, load_release
from posterion.studies.neutrinos.tables import read_tables
from posterion.studies.neutrinos.target import neutrino_target

SMALL = (("sin2_theta12", "log10_Dm2_21"), ("sin2_theta13",), ("delta_CP",), ("Dm2_3l",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def normal(folder):
    """All blocks."""
    return synthetic.write_tables(folder / "v60.release-TByes-NO.txt", "NO")


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("ordering", ["NO", "IO"])
def test_reads_every_block_exactly_and_removes_the_offset_once(tmp_path, prefix, ordering):
    path = tmp_path / f"v53.release-SKyes-{ordering}.txt"
    synthetic.write_tables(path, ordering, offset=9.25, prefix=prefix)
    tables = read_tables(path)
    assert (tables.ordering, tables.release, tables.variant) == (ordering, "5.3", "SKyes")
    assert tables.offset == pytest.approx(9.25, abs=1e-8)
    assert set(tables.blocks) == set(synthetic.BLOCKS)
    for names, block in tables.blocks.items():
        for name, axis, period in zip(names, block.axes, block.periods, strict=True):
            wanted = synthetic.nodes(name, ordering)
            if name == "delta_CP":
                wanted = wanted[:-1]
            assert period == (360.0 if name == "delta_CP" else None)
            np.testing.assert_array_equal(axis, wanted)
            assert axis.dtype == np.float64
        wanted = synthetic.chi2(names, ordering, *np.meshgrid(*block.axes, indexing="ij"))
        np.testing.assert_allclose(block.chi2, wanted, atol=2e-6)


def test_a_block_in_any_order_of_its_axes_and_its_profile(normal):
    tables = read_tables(normal)
    block = tables.block("sin2_theta23", "Dm2_3l", "delta_CP")
    turned = tables.block("delta_CP", "sin2_theta23", "Dm2_3l")
    np.testing.assert_array_equal(turned.chi2, block.chi2.transpose(2, 0, 1))
    assert turned.periods == (360.0, None, None)
    profile = block.minimised("delta_CP", "sin2_theta23")
    assert profile.names == ("delta_CP", "sin2_theta23")
    np.testing.assert_array_equal(profile.chi2, block.chi2.min(axis=1).T)
    assert profile.edges("delta_CP") == (-180.0, 180.0)
    assert tables.has("Dm2_3l", "delta_CP", "sin2_theta23")
    assert not tables.has("Dm2_3l")


@pytest.mark.parametrize("compress, suffix", [(lzma.compress, ".xz"), (gzip.compress, ".gz")])
def test_compressed_tables_equal_the_plain_one(tmp_path, compress, suffix):
    plain = synthetic.write_tables(tmp_path / "v60.release-TByes-NO.txt", blocks=SMALL)
    path = tmp_path / (plain.name + suffix)
    path.write_bytes(compress(plain.read_bytes()))
    packed = read_tables(path)
    assert (packed.release, packed.variant) == ("6.0", "TByes")
    for names, block in read_tables(plain).blocks.items():
        np.testing.assert_array_equal(packed.blocks[names].chi2, block.chi2)
    whole = path.read_bytes()
    for cut in (20, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(TableError, match=r"NO\.txt\.(xz|gz).*truncated or damaged"):
            read_tables(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(flipped))
    with pytest.raises(TableError, match=r"NO\.txt\.(xz|gz).*download it again"):
        read_tables(path)


def shuffled(lines):
    rows = lines[3:]
    stop = rows.index("")
    body = rows[:stop]
    np.random.default_rng(0).shuffle(body)
    return [*lines[:3], *body, *rows[stop:]]


def descending(lines):
    stop = lines.index("", 3)
    return [*lines[:3], *lines[3:stop][::-1], *lines[stop:]]


def with_windows_ends(lines):
    return [line + "\r" for line in lines]


def commented(lines):
    return [*lines[:2], "# Delta_chi^2 is that of the fit", *lines[2:5], "# more", "", *lines[5:]]


def capitals(lines):
    return [
        line.replace("Log10(Delta_m21^2/[eV^2])", "log10( Delta_m21^2 / eV^2 )") for line in lines
    ]


@pytest.mark.parametrize(
    "edit", [shuffled, descending, with_windows_ends, commented, capitals], ids=lambda f: f.__name__
)
def test_variations_of_the_form_read_the_same(tmp_path, edit):
    plain = read_tables(synthetic.write_tables(tmp_path / "a-NO.txt", blocks=SMALL))
    other = read_tables(synthetic.write_tables(tmp_path / "b-NO.txt", blocks=SMALL, edit=edit))
    for names, block in plain.blocks.items():
        np.testing.assert_array_equal(other.blocks[names].chi2, block.chi2)
        for one, two in zip(other.blocks[names].axes, block.axes, strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_linear_solar_splitting_becomes_its_logarithm(tmp_path):
    def linear(lines):
        start = lines.index(synthetic.title(("log10_Dm2_21",), "NO", True))
        lines[start] = "# DMS projection: Delta_m21^2/[1e-5_eV^2] Delta_chi^2"
        for i in range(start + 1, len(lines) - 1):
            x, value = map(float, lines[i].split())
            lines[i] = f"{10**x * 1e5:.12f} {value:.9e}"
        return lines

    blocks = [("log10_Dm2_21",)]
    path = synthetic.write_tables(tmp_path / "x-NO.txt", blocks=blocks, edit=linear)
    block = read_tables(path).block("log10_Dm2_21")
    np.testing.assert_allclose(block.axes[0], synthetic.nodes("log10_Dm2_21", "NO"), atol=1e-9)


# ---- bad files; line 1 is the title, 3 the header of the first block, 4 its first row


def replaced(number, text):
    def edit(lines):
        lines[number - 1] = text
        return lines

    return edit


def without(number):
    return lambda lines: lines[: number - 1] + lines[number:]


def doubled(number):
    return lambda lines: lines[:number] + lines[number - 1 :]


def shifted(lines):
    """One line lacks a number, the next has one too many: their count is right."""
    lines[9] = " ".join(lines[9].split()[:-1])
    lines[10] += " 1.0"
    return lines


def open_circle(lines):
    i = next(i for i, line in enumerate(lines) if line.startswith(" +180"))
    lines[i] = " +180.0 99.0"
    return lines


def short_circle(lines):
    i = next(i for i, line in enumerate(lines) if line.startswith(" +180"))
    return lines[:i] + lines[i + 1 :]


def wrong_sign(lines):
    return [line.replace("Delta_m31", "Delta_m32") for line in lines]


def both_orderings(lines):
    return (
        lines
        + ["", "# DMA projection: Delta_m32^2/[1e-3_eV^2] sin^2(theta12) Delta_chi^2"]
        + [f"{-x} {y} 1.0" for x in (4.0, 3.0, 2.0, 1.0) for y in (0.1, 0.2, 0.3, 0.4)]
    )


BAD = {
    "nan": (replaced(10, " +0.22 -4.1 nan"), r"Log10.*line 10: a value is not finite: '\+0\.22"),
    "inf": (replaced(10, " +0.22 -4.1 inf"), "line 10: a value is not finite"),
    "few columns": (replaced(10, " +0.22 -4.1"), "line 10: 2 columns instead of 3"),
    "many columns": (replaced(10, " +0.22 -4.1 1.0 2.0"), "line 10: 4 columns instead of 3"),
    "two points": (replaced(10, " +0.22 -4.1 1.2.3"), "line 10: not numbers"),
    "letters": (replaced(10, " +0.22 -4.1 ABC"), "line 10: not numbers"),
    "shifted": (shifted, "line 10: 2 columns instead of 3"),
    "row lost": (without(10), r"line 3: 624 rows do not fill .* 25 x 25 .*\(no rows for"),
    "row twice": (doubled(10), r"line 3: 626 rows do not fill .*\(2 rows for"),
    "node moved": (replaced(10, " +0.2201 -4.1 1.0"), "do not fill the grid of 26 x 26 nodes"),
    "no rows": (lambda lines: [lines[0], lines[2]], "line 2: no rows follow"),
    "open circle": (open_circle, "Delta_CP.*same point"),
    "short circle": (short_circle, "covers -180 to 170, not one turn"),
    "wrong sign": (wrong_sign, r"the columns name the ordering\(s\) \['IO'\]"),
    "both orderings": (both_orderings, r"name the ordering\(s\) \['IO', 'NO'\]"),
    "block twice": (lambda lines: lines + lines[2:], "appears twice"),
    "row added": (lambda lines: [*lines[:3], "1 2 3", "", *lines[3:]], "do not fill"),
    "unknown": (lambda lines: [*lines, "sin^2(theta99) Delta_chi^2", "1 2"], "names are not one"),
    "no header": (lambda lines: ["nothing here"], "no line that names columns"),
    "empty": (lambda lines: [""], "no line that names columns"),
    "few nodes": (
        lambda lines: [*lines[:2], "# sin^2(theta12) Delta_chi^2", "0.1 1", "0.2 2", "0.3 3"],
        "has 3 nodes; at least 4",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_says_what_is_wrong_and_where(tmp_path, case):
    edit, message = BAD[case]
    path = synthetic.write_tables(tmp_path / "bad-NO.txt", blocks=SMALL, edit=edit)
    with pytest.raises(TableError, match=message) as caught:
        read_tables(path)
    assert "bad-NO.txt" in str(caught.value)


def test_whole_rows_lost_at_the_end_of_the_file_are_noticed(tmp_path):
    blocks = [("Dm2_3l",), ("sin2_theta23", "Dm2_3l", "delta_CP"), ("sin2_theta23",)]
    path = synthetic.write_tables(
        tmp_path / "bad-NO.txt", blocks=blocks, edit=lambda lines: lines[:-3]
    )
    with pytest.raises(TableError, match=r"sin2_theta23 covers .*, in another block .*truncated"):
        read_tables(path)


def test_a_grid_with_one_row_replaced_names_the_missing_node(tmp_path):
    def edit(lines):
        lines[9] = lines[10]
        return lines

    path = synthetic.write_tables(tmp_path / "bad-NO.txt", blocks=SMALL, edit=edit)
    with pytest.raises(TableError, match=r"no rows for sin2_theta12 = 0\.22, log10_Dm2_21 = -4\.1"):
        read_tables(path)


def test_missing_file_folder_and_ordering(tmp_path, normal):
    with pytest.raises(TableError, match=r"nowhere\.txt: no such file"):
        read_tables(tmp_path / "nowhere.txt")
    with pytest.raises(TableError, match="cannot be read"):
        read_tables(tmp_path)
    with pytest.raises(TableError, match="holds the ordering NO, not IO"):
        read_tables(normal, "IO")


@pytest.mark.parametrize("lost", [0, 1, 4])
def test_a_missing_block_is_named_by_the_target(tmp_path, lost):
    blocks = [b for i, b in enumerate(synthetic.BLOCKS) if i != lost]
    tables = read_tables(synthetic.write_tables(tmp_path / "x-NO.txt", blocks=blocks))
    with pytest.raises(TableError, match="no block of") as caught:
        neutrino_target(tables)
    assert ", ".join(synthetic.BLOCKS[lost]) in str(caught.value)


def test_oversized_content_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("posterion.studies.neutrinos.tables._SIZE_LIMIT", 1000)
    path = tmp_path / "bomb-NO.txt.xz"
    path.write_bytes(lzma.compress(b" " * 5000))
    with pytest.raises(TableError, match="larger than"):
        read_tables(path)


def test_find_release_by_file_sibling_and_folder(tmp_path):
    for name in ("v61.release-TByes-NO.txt.xz", "v61.release-TByes-IO.txt.xz", "NOTES.txt"):
        (tmp_path / name).touch()
    file = tmp_path / "v61.release-TByes-NO.txt.xz"
    assert find_release(file, "NO") == file
    assert find_release(str(file), "IO").name == "v61.release-TByes-IO.txt.xz"
    assert find_release(tmp_path, "IO").name == "v61.release-TByes-IO.txt.xz"
    (tmp_path / "v61.release-TBoff-IO.txt").touch()
    with pytest.raises(TableError, match=r"several tables of ordering IO .*TBoff.*TByes"):
        find_release(tmp_path, "IO")
    (tmp_path / "mine.txt").touch()
    assert find_release(tmp_path / "mine.txt", "IO").name == "mine.txt"
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match=r"no table .* whose name contains NO"):
        find_release(tmp_path / "empty", "NO")
    with pytest.raises(TableError, match=r"6\.0: no such file; releases by number are 5\.3, 5\.2"):
        find_release("6.0", "NO")
    with pytest.raises(TableError, match="ordering 'XO' is unknown"):
        find_release("5.3", "XO")


def test_without_flavorpy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"posterion\[nufit\]"):
        find_release("5.3", "NO")


@pytest.mark.skipif(importlib.util.find_spec("flavorpy") is None, reason="needs flavorpy [nufit]")
@pytest.mark.parametrize("release, offset", [("5.3", 9.117398), ("5.2", 6.356428)])
def test_the_real_tables(release, offset):
    assert release in CARRIED
    tables = load_release(release, "IO")
    assert (tables.release, tables.ordering, tables.variant) == (release, "IO", "SKyes")
    assert tables.offset == pytest.approx(offset, abs=1e-9)
    assert len(tables.blocks) == 22
    block = tables.block("sin2_theta23", "Dm2_3l", "delta_CP")
    assert block.chi2.shape == (101, 165, 72)
    assert block.chi2.min() == 0.0
    # the rows '0.250 -7.000 -175' and '0.750 -0.200 165' as the file of 5.3 has them
    if release == "5.3":
        assert block.chi2[-1, -1, 69] + tables.offset == pytest.approx(3422.700, abs=1e-9)
