"""Tables in and out: what goes out comes back, in every format, or an error says why not."""

import errno
import os
import sys
import tracemalloc
import zipfile

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from posterion.core.errors import (
    MissingExtraError,
    OutputError,
    SettingError,
    ShapeError,
    TableError,
)
from posterion.io import read_metadata, read_table, write_draws
from posterion.io.columns import gather

FORMATS = ["parquet", "csv", "npz", "h5", "hdf5"]


@pytest.fixture
def draws():
    generator = np.random.default_rng(0)
    return {
        "sin2 theta23": generator.normal(size=100),
        "file": np.array([np.nan, np.inf, -np.inf, 0.1 + 0.2, 5e-324] * 20),
        "weights": generator.normal(size=(100, 11)),
        "matrix": generator.normal(size=(100, 2, 3)).astype(np.float32).astype(float),
        "one": generator.normal(size=(100, 1)),
    }


def assert_same(after, before):
    assert list(after) == list(before)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
        assert after[name].dtype == array.dtype


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_back_every_bit(tmp_path, draws, suffix):
    path = tmp_path / f"draws.{suffix.upper()}"
    write_draws(path, draws)
    after = read_table(path)
    assert_same(after, draws)
    assert all(array.flags.writeable for array in after.values())


@pytest.mark.parametrize("suffix", FORMATS)
def test_chunks_make_the_same_table(tmp_path, draws, suffix):
    path = tmp_path / f"draws.{suffix}"
    write_draws(path, ({k: v[i : i + 33] for k, v in draws.items()} for i in range(0, 100, 33)))
    assert_same(read_table(path), draws)


def test_a_folder_with_an_equals_sign_adds_no_column(tmp_path):
    (tmp_path / "seed=1").mkdir()
    write_draws(tmp_path / "seed=1" / "a.parquet", {"x": np.zeros(2)})
    assert list(read_table(tmp_path / "seed=1" / "a.parquet")) == ["x"]


@pytest.mark.parametrize("suffix", ["parquet", "npz", "h5"])
def test_dtypes_units_shapes_and_notes_are_kept(tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    columns = {
        "n[0]": np.arange(5, dtype=np.int32),
        "flag": np.array([True, False, True, True, False]),
        "big": np.arange(5, dtype=">f4"),
        "x": np.zeros((5, 2), np.float32),
    }
    write_draws(path, columns, units={"x": "GeV"}, meta={"seed": 3, "limit": np.inf})
    after = read_table(path)
    for name, array in columns.items():
        np.testing.assert_array_equal(after[name], array)
        assert after[name].dtype == array.dtype.newbyteorder("=") or suffix in ("npz", "h5")
    assert read_metadata(path) == {
        "units": {"x": "GeV"},
        "shapes": {"n[0]": [], "flag": [], "big": [], "x": [2]},
        "meta": {"seed": 3, "limit": np.inf},
    }


def test_other_programs_find_plain_columns_and_units(tmp_path):
    draws = {"m": np.array([1.0, 2.0]), "w": np.eye(2)}
    write_draws(tmp_path / "a.parquet", draws, units={"m": "GeV", "w": "fm"})
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["m", "w[0]", "w[1]"]
    assert table.field("w[1]").metadata == {b"unit": b"fm"}
    write_draws(tmp_path / "a.h5", draws, units={"m": "GeV"})
    with h5py.File(tmp_path / "a.h5") as file:
        assert list(file) == ["m", "w"] and file["m"].attrs["unit"] == "GeV"
    write_draws(tmp_path / "a.csv", draws)
    assert (tmp_path / "a.csv").read_text() == '"m","w[0]","w[1]"\n1,1,0\n2,0,1\n'
    write_draws(tmp_path / "a.npz", draws)
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["w"], np.eye(2))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "h5"])
def test_a_stream_is_not_held_in_memory(tmp_path, suffix):
    size = 50_000
    arrow = []

    def chunks(count):
        for _ in range(count):
            arrow.append(pa.total_allocated_bytes())
            yield {"x": np.random.default_rng(0).normal(size=size)}

    write_draws(tmp_path / f"warm.{suffix}", chunks(1))
    tracemalloc.start()
    try:
        write_draws(tmp_path / f"a.{suffix}", chunks(20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * 8 * size  # of 20 chunks
    assert max(arrow) - arrow[0] < 6 * 8 * size
    assert len(read_table(tmp_path / f"a.{suffix}")["x"]) == 20 * size


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failing_stream_leaves_the_old_file(tmp_path, draws, suffix):
    path = tmp_path / f"draws.{suffix}"
    write_draws(path, draws)
    before = path.read_bytes()

    def chunks(error):
        yield draws
        raise error

    for error in (ZeroDivisionError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_draws(path, chunks(error))
    with pytest.raises(OutputError, match="No space left"):
        write_draws(path, chunks(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "npz", "h5"])
def test_a_quota_reached_while_writing_is_an_output_error(tmp_path, run_python, suffix):
    path = tmp_path / f"draws.{suffix}"
    code = (
        "import resource, sys, numpy as np\n"
        "from posterion import errors, io\n"
        "chunk = {'x': np.random.default_rng(0).normal(size=20_000)}\n"
        "io.write_draws(sys.argv[1], chunk)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))\n"
        "try: io.write_draws(sys.argv[1], [chunk] * 10)\n"
        "except errors.OutputError as error: sys.exit(f'refused: {error}')"
    )
    done = run_python(code, str(path), check=False)
    assert done.stderr.startswith("refused: cannot write"), done.stderr
    assert len(read_table(path)["x"]) == 20_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match=r"no folder .*nowhere; create it"):
        write_draws(tmp_path / "nowhere" / "a.csv", {"x": np.zeros(1)})
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write_draws(tmp_path / "a.csv", {"x": np.zeros(1)})


@pytest.mark.parametrize("name", ["a.txt", "a", "a.parquet.gz"])
def test_an_unknown_suffix_lists_the_known(tmp_path, name):
    with pytest.raises(SettingError, match=r"none of .parquet, .csv, .npz, .h5, .hdf5"):
        write_draws(tmp_path / name, {"x": np.zeros(1)})
    with pytest.raises(SettingError, match=r"none of .parquet, .*\.root"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ({}, "at least one column"),
        ([], "at least one column"),
        ({"x": np.array(["a"])}, "'x' has dtype <U1"),
        ({"x": 3.0}, "'x' has dtype float64 and shape ()"),
        ({"x": np.zeros((3, 0))}, r"\(3, 0\)"),
        ({"x": np.zeros(3), "y": np.zeros(2)}, "x 3, y 2"),
        ({"x[0]": np.zeros(3), "x": np.zeros((3, 1))}, r"two columns would be named x\[0\]"),
        ([{"x": np.zeros(3)}, {"y": np.zeros(3)}], "a chunk has the columns y"),
        (
            [{"x": np.zeros(3)}, {"x": np.zeros((3, 2))}],
            r"the first one had float64 and \(rows, \)",
        ),
        ([{"x": np.zeros(3)}, {"x": np.zeros(3, int)}], "int64"),
    ],
)
def test_draws_that_are_no_table(tmp_path, draws, message):
    with pytest.raises(ShapeError, match=message):
        write_draws(tmp_path / "a.parquet", draws)
    assert list(tmp_path.iterdir()) == []


def test_a_unit_for_no_column(tmp_path):
    with pytest.raises(SettingError, match=r"unit for z, .* the columns are x"):
        write_draws(tmp_path / "a.csv", {"x": np.zeros(1)}, units={"z": "GeV"})


@pytest.mark.parametrize("suffix", ["parquet", "npz", "h5"])
def test_missing_truncated_and_foreign_files(tmp_path, draws, suffix):
    path = tmp_path / f"draws.{suffix}"
    with pytest.raises(TableError, match="no file"):
        read_table(path)
    write_draws(path, draws)
    data = path.read_bytes()
    for damaged in (
        b"",
        b"text",
        data[: len(data) // 2],
        data[:-5] if suffix != "h5" else b"\x89HDF",
    ):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=rf"draws\.{suffix} cannot be read as a table"):
            read_table(path)


def test_tables_that_are_not_numbers_in_rows(tmp_path):
    (tmp_path / "a.csv").write_text("x,name\n1,b\n")
    with pytest.raises(TableError, match="'name' has dtype object"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("x,x\n1,2\n")
    with pytest.raises(TableError, match="two columns have one name"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(TableError, match="Expected 2 columns"):
        read_table(tmp_path / "a.csv")
    np.savez(tmp_path / "a.npz", x=np.zeros(3), y=np.zeros(2))
    with pytest.raises(TableError, match="x 3, y 2"):
        read_table(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.array([{}, {}]))
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros(3))
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    with pytest.raises(TableError, match=r"no \.npz archive"):
        read_table(tmp_path / "b.npz")


def test_a_foreign_table_is_gathered_only_where_it_is_complete(tmp_path):
    x = np.arange(3.0)
    after = gather({"w[1]": x + 1, "w[0]": x, "v[1]": x, "u": x, "u[0]": x, "t[0,0]": x, "t[1]": x})
    assert list(after) == ["w", "v[1]", "u", "u[0]", "t[0,0]", "t[1]"]
    np.testing.assert_array_equal(after["w"], np.stack([x, x + 1], axis=1))
    (tmp_path / "a.csv").write_text("n,x\n1,\n2,0.5\n")
    after = read_table(tmp_path / "a.csv")
    assert after["n"].dtype == np.int64
    np.testing.assert_array_equal(after["x"], [np.nan, 0.5])


def test_a_column_that_another_program_added_is_kept(tmp_path):
    write_draws(tmp_path / "a.parquet", {"w": np.eye(2)})
    table = pq.read_table(tmp_path / "a.parquet").append_column("y", pa.array([1.0, 2.0]))
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(read_table(tmp_path / "a.parquet")) == ["w", "y"]
    pq.write_table(table.drop_columns(["w[1]"]), tmp_path / "a.parquet")
    with pytest.raises(TableError, match=r"w\[1\].* is missing"):
        read_table(tmp_path / "a.parquet")


def test_root_without_uproot_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uproot", None)
    for name in ("a.root", "a.root:folder/tree"):
        with pytest.raises(MissingExtraError, match=r"posterion\[hep\]"):
            read_table(tmp_path / name)


def test_root_trees(tmp_path):
    uproot = pytest.importorskip("uproot")
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("events", {"x": np.float64, "p": (np.float64, (3,))})
        file["events"].extend({"x": np.arange(4.0), "p": np.ones((4, 3))})
    after = read_table(tmp_path / "a.root")
    assert after["x"].shape == (4,) and after["p"].shape == (4, 3)
    with uproot.update(tmp_path / "a.root") as file:
        file.mktree("more", {"x": np.float64})
        file["more"].extend({"x": np.arange(2.0)})
    with pytest.raises(TableError, match="trees events, more: name one"):
        read_table(tmp_path / "a.root")
    np.testing.assert_array_equal(read_table(f"{tmp_path}/a.root:more")["x"], [0, 1])


def test_npz_is_a_plain_archive_without_objects(tmp_path):
    write_draws(tmp_path / "a.npz", {"x": np.zeros(2)}, meta={"k": 1})
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert file.namelist() == ["x.npy", "__posterion__.npy"]
