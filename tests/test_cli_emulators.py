"""``posterion emulate`` and ``posterion predict``, as a user calls them."""

import numpy as np
import pytest

import posterion
from posterion.cli import emulating, main
from posterion.io import read_metadata, read_table, write_draws

QUICK = ["--hidden", "6", "--chains", "2", "--draws", "4", "--warmup", "20", "--thin", "1"]
QUICK += ["--epochs", "3", "--seed", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan")
    rng = np.random.default_rng(0)
    scan = {"m": rng.uniform(100, 500, 1000), "tan": rng.uniform(1, 60, 1000)}
    scan |= {"sigma": np.exp(-scan["m"] / 100), "code": rng.normal(size=1000)}
    write_draws(path / "scan.parquet", scan, units={"sigma": "pb", "m": "GeV", "code": "s"})
    write_draws(path / "points.csv", {"tan": scan["tan"][:70], "m": scan["m"][:70] + 200})
    return path


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return left.value.code or 0, out.out, out.err


def test_from_a_table_to_predictions(folder, capsys, monkeypatch):
    file, out = folder / "xsec.posterion", folder / "predictions.parquet"
    given = ["--inputs", "m,tan", "--target", "sigma", "--log-target"]
    code, said, _ = called(capsys, "emulate", folder / "scan.parquet", *given, "-o", file, *QUICK)
    assert code == 0 and "R-hat in prediction" in said and f"wrote {file}" in said
    assert not file.with_suffix(".chains").exists()
    kept = posterion.load(file)
    assert kept.inputs.names == ("m", "tan") and kept.targets.log.all()
    assert kept.inputs.units == ("GeV", "") and kept.targets.units == ("pb",)
    monkeypatch.setattr(emulating, "ROWS", 32)
    code, said, _ = called(capsys, "predict", file, folder / "points.csv", "-o", out)
    assert code == 0 and "70 points" in said
    table, points = read_table(out), read_table(folder / "points.csv")
    whole = kept.predict(points)
    np.testing.assert_allclose(table["sigma"], whole.mean, rtol=1e-5)
    np.testing.assert_array_equal(table["extrapolated"], whole.extrapolated)
    assert 0 < whole.extrapolated.sum() < 70
    assert read_metadata(out)["meta"]["name"] == "xsec"
    code, said, _ = called(capsys, "show", file)
    assert code == 0 and "emulator: xsec" in said


def test_one_network_in_place_of_many(folder, capsys):
    file, one, out = (folder / name for name in ("xsec.posterion", "one.posterion", "one.csv"))
    quick = ["--hidden", "8", "--rows", "600", "--epochs", "3"]
    code, said, _ = called(capsys, "distil", file, "-o", one, *quick)
    assert code == 0 and "mean, difference / sd" in said and f"wrote {one}" in said
    code, said, _ = called(capsys, "predict", one, folder / "points.csv", "-o", out)
    assert code == 0 and "70 points" in said
    found = posterion.load(one).predict(read_table(folder / "points.csv"))
    np.testing.assert_allclose(read_table(out)["sigma"], found.mean, rtol=1e-5)
    given = ["-o", out, "--networks", "2"]
    code, _, said = called(capsys, "predict", one, folder / "points.csv", *given)
    assert code == 2 and "holds one network" in said
    code, _, said = called(capsys, "distil", one, "-o", out)
    assert code == 2 and "has no networks to distil" in said


def test_what_cannot_be_done_is_said(folder, capsys):
    table, file = folder / "scan.parquet", folder / "x.posterion"
    code, _, said = called(capsys, "emulate", table, "--target", "tau", "-o", file)
    assert code == 2 and "no column tau" in said
    given = ["--target", "sigma", "--hidden", "a", "-o", file]
    code, _, said = called(capsys, "emulate", table, *given)
    assert code == 2 and "--hidden takes widths" in said
    code, _, said = called(capsys, "emulate", table, "--target", "sigma", "-o", table)
    assert code == 2 and "would be lost" in said
    given = ["--target", "sigma", "--inputs", "m,sigma", "-o", file]
    code, _, said = called(capsys, "emulate", table, *given)
    assert code == 2 and "sigma is among the inputs and the targets" in said
    whole = folder / "xsec.posterion"
    points = folder / "points.csv"
    code, _, said = called(capsys, "predict", whole, points, "-o", points)
    assert code == 2 and "would be lost" in said
    code, _, said = called(capsys, "predict", whole, table.with_name("no.csv"), "-o", "a.csv")
    assert code != 0 and "no.csv" in said
    code, _, said = called(capsys, "sample", whole, "-o", folder / "a.csv")
    assert code == 2 and "kind 'emulator', which is no distribution and has no draws" in said
    assert "`posterion predict` gives means and error bars at points" in said


def test_what_has_no_chains_keeps_none(folder, capsys):
    table, file = folder / "scan.parquet", folder / "quick.posterion"
    given = ["emulate", table, "--target", "sigma", "--sampler", "ensemble", "-o", file, *QUICK]
    code, said, _ = called(capsys, *given)
    assert code == 0 and f"wrote {file}" in said
    code, _, said = called(capsys, *given, "--resume")
    assert code == 2 and "'ensemble' has none" in said
