"""The package as a whole: its face, its version, its source, its declared dependencies."""

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import posterion

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "posterion").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = [
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCES
]


def test_importing_the_face_loads_no_other_package(run_python):
    loaded = run_python(
        "import sys; before = set(sys.modules); import posterion;"
        "print(*{m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    assert loaded.stdout.split() == ["posterion"]


def test_importing_every_room_needs_no_extra_and_leaves_the_flags_of_jax(run_python):
    run_python(
        """
import importlib, sys

class NoExtra:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"an extra was imported: {name}")

sys.meta_path.insert(0, NoExtra())
import jax
before = dict(jax.config.values)
for name in sys.argv[2:]:
    importlib.import_module(name)
changed = {k: v for k, v in jax.config.values.items() if before.get(k, v) != v}
assert not changed, changed
""",
        "awkward beartype dask distributed emcee fastjet flavorpy onnx onnxruntime pyhf pytest"
        " pythia8mc uproot",
        *MODULES,
    )


def test_face_names_what_it_says():
    for name in posterion.__all__:
        assert getattr(posterion, name) is not None
    assert dir(posterion) == sorted(posterion.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lern'"):
        posterion.lern  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_version_stands_in_one_place_and_its_copies_agree():
    assert posterion.__version__ == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'version: "{posterion.__version__}"' in citation
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {posterion.__version__}" in changes


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name):
    """An override inherits its docstring, a re-exported name is seen to in its own module."""
    module = importlib.import_module(name)
    bare = [] if module.__doc__ else [name]
    for key, thing in vars(module).items():
        if key.startswith("_") or getattr(thing, "__module__", None) != name:
            continue
        if inspect.isfunction(thing) and not inspect.getdoc(thing):
            bare.append(key)
        if inspect.isclass(thing):
            members = {
                f"{key}.{k}": v
                for k, v in vars(thing).items()
                if not k.startswith("_") and (inspect.isroutine(v) or isinstance(v, property))
            }
            documented = {k: inspect.getdoc(getattr(thing, k.partition(".")[2])) for k in members}
            bare += [k for k, doc in ({key: thing.__doc__} | documented).items() if not doc]
    assert not bare


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_source_keeps_the_rules_of_the_house(path):
    """No line of a linter's exceptions gets round these: parsed, not matched as text."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400, "over 400 lines: look for the seam"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assert):
            pytest.fail(f"line {node.lineno}: assert on data; raise a named error")
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "dill", "cloudpickle"} & {n.partition(".")[0] for n in names}
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "eval", "exec"}, f"line {node.lineno}: {called}"
            assert called != "jax.config.update", f"line {node.lineno}: a global JAX flag"


def test_constraints_are_plain_lines_that_meet_every_floor():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line)
        assert match, line
        pinned[match[1]] = Version(match[2])
    extras = PROJECT["optional-dependencies"]
    for wanted in map(Requirement, PROJECT["dependencies"] + extras["nufit"] + extras["dev"]):
        assert pinned[wanted.name] in wanted.specifier, wanted


def test_every_dependency_has_a_floor():
    for wanted in map(Requirement, PROJECT["dependencies"]):
        assert any(bound.operator == ">=" for bound in wanted.specifier), wanted
    for extra in PROJECT["optional-dependencies"].values():
        for wanted in map(Requirement, extra):
            assert any(bound.operator == ">=" for bound in wanted.specifier), wanted
