"""The registry: objects to trees of plain data and back."""

import enum
import json
import math
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion.core import registry
from posterion.core.errors import BundleError, BundleVersionError
from posterion.core.registry import from_tree, register, to_tree


@register("test_colour")
class Colour(enum.Enum):
    """A registered enumeration."""

    RED = "red"
    BLUE = "blue"


@register("test_interval")
@dataclass(frozen=True)
class Interval:
    """A registered frozen dataclass."""

    lower: float
    upper: float = math.inf
    label: str | None = None
    nodes: np.ndarray | None = None
    width: float = field(init=False, default=0.0)

    def __post_init__(self):
        object.__setattr__(self, "width", self.upper - self.lower)


@register("test_layer")
class Layer(eqx.Module):
    """A registered Equinox module with a static field."""

    weight: jax.Array
    size: int = eqx.field(static=True)

    def __call__(self, x):
        return self.weight @ x


@register("test_chain")
class Chain(eqx.Module):
    """A registered Equinox module that holds others, whose ``__init__`` must not run again."""

    layers: tuple[Layer, ...]
    support: Interval
    nodes: np.ndarray
    extra: dict

    def __init__(self, *layers, support, nodes, extra):
        self.layers = layers
        self.support = support
        self.nodes = nodes
        self.extra = extra

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def through_json(obj):
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(to_tree(obj, arrays), allow_nan=False)
    return from_tree(json.loads(text), arrays), arrays


def chain():
    layers = [Layer(jax.random.normal(jax.random.key(i), (3, 3)), size=3) for i in range(2)]
    nodes = np.linspace(0.0, 1.0, 5) + 1e-12
    extra = {"step": 3, "names": ["a", "b"], "none": None, "point": (1.5, -math.inf)}
    return Chain(*layers, support=Interval(0.0), nodes=nodes, extra=extra)


def test_an_equinox_module_computes_the_same_after_the_round_trip():
    before = chain()
    after, arrays = through_json(before)
    x = jnp.array([1.0, -2.0, 0.5])
    np.testing.assert_array_equal(before(x), after(x))
    assert eqx.tree_equal(before, after)
    np.testing.assert_array_equal(eqx.filter_jit(after)(x), eqx.filter_jit(before)(x))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert after.extra == before.extra
    assert type(after.layers) is tuple and type(after.layers[0].weight) is type(x)
    assert set(arrays) == {"layers[0].weight", "layers[1].weight", "nodes"}


def test_float64_stays_float64_and_numpy_stays_numpy():
    after, _ = through_json(chain())
    assert type(after.nodes) is np.ndarray
    assert after.nodes.dtype == np.float64
    np.testing.assert_array_equal(after.nodes, chain().nodes)
    with jax.enable_x64(True):
        wide = jnp.array([1.0 + 1e-12])
    again, _ = through_json((wide,))
    assert isinstance(again[0], jax.Array) and again[0].dtype == np.float64
    np.testing.assert_array_equal(again[0], wide)
    assert not jax.config.read("jax_enable_x64")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        2**70,
        -0.0,
        1e-300,
        math.inf,
        -math.inf,
        "naïve \n text",
        [],
        (),
        (1, (2.0, [None])),
        {},
        {"type": "trap", "fields": {}, "version": 1},
        {"array": "trap", "library": "jax"},
        {"float": "nan"},
        {"a.b": 1, "a": {"b": 2}},
        Colour.BLUE,
        (Interval(0.0), [Interval(-1.0, 1.0, "x")]),
    ],
)
def test_plain_values_come_back_with_their_types(value):
    after, _ = through_json(value)
    assert after == value and repr(after) == repr(value)


def test_nan_comes_back():
    after, _ = through_json([math.nan])
    assert type(after[0]) is float and math.isnan(after[0])


@pytest.mark.parametrize(
    "array",
    [
        np.float32(0.1) * np.ones((2, 3), np.float32),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10, dtype=np.int32)[::3],
        np.array(2.5),
        np.zeros((0, 4)),
        np.array([True, False]),
        np.array([np.nan, np.inf]),
        np.array([1, 2], dtype=">i4"),
        np.array([1 + 2j], np.complex64),
    ],
)
def test_arrays_keep_their_values_and_dtype(array):
    after, arrays = through_json(array)
    np.testing.assert_array_equal(after, array)
    assert after.dtype == array.dtype and after.shape == array.shape
    assert arrays["value"].flags.c_contiguous


def test_init_does_not_run_and_computed_fields_are_stored():
    arrays: dict[str, np.ndarray] = {}
    tree = to_tree(Interval(1.0, 3.0), arrays)
    tree["fields"]["width"] = 5.0
    assert from_tree(tree, arrays).width == 5.0


def test_a_field_that_an_old_file_lacks_takes_its_default():
    arrays: dict[str, np.ndarray] = {}
    tree = to_tree(Interval(1.0, 3.0), arrays)
    del tree["fields"]["label"], tree["fields"]["nodes"]
    assert from_tree(tree, arrays) == Interval(1.0, 3.0)
    del tree["fields"]["lower"]
    with pytest.raises(BundleError, match="'lower' is missing"):
        from_tree(tree, arrays)


def test_several_objects_share_the_arrays_under_their_names():
    arrays: dict[str, np.ndarray] = {}
    trees = [to_tree(np.full(2, i), arrays, f"part{i}") for i in range(2)]
    assert set(arrays) == {"part0", "part1"}
    assert [from_tree(tree, arrays)[0] for tree in trees] == [0, 1]
    with pytest.raises(BundleError, match=r"part1.*already"):
        to_tree(np.zeros(2), arrays, "part1")


@dataclass(frozen=True)
class Unregistered:
    """A class that no one registered."""

    x: int = 0


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": (1, Unregistered())}, r"\['a'\]\[1\]: a Unregistered"),
        (Interval(0.0, label=len), r"label: a builtin"),  # type: ignore[arg-type]
        (Interval(0.0, nodes=np.array(["text"])), "nodes: its dtype is <U4"),
        (Interval(0.0, nodes=np.array([object()])), "nodes: its dtype is object"),
        (Interval(0.0, nodes=np.zeros(1, np.complex128)), "nodes: its dtype is complex128"),
        ([{1: 2}], r"\[0\]: the key 1 is not text"),
        (Layer(jax.random.key(0), size=1), "weight"),
        (1j, "the object itself"),
    ],
)
def test_what_cannot_be_stored_is_named(value, path):
    with pytest.raises(BundleError, match=path):
        to_tree(value, {})


def test_a_tracer_and_a_circle_are_refused():
    def store(x):
        with pytest.raises(BundleError, match="weight"):
            to_tree(Layer(x, size=1), {})
        return x

    jax.jit(store)(jnp.ones(2))
    circle: list = []
    circle.append(circle)
    with pytest.raises(BundleError, match="circle"):
        to_tree(circle, {})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"type": "os.system", "version": 1, "fields": {}}, "unknown type 'os.system'"),
        ({"type": "test_interval", "version": 1, "fields": {"lower": {}}}, "lower: malformed"),
        ({"type": "test_interval", "version": 1, "fields": {"lower": 0, "z": 1}}, "no field 'z'"),
        ({"type": "test_interval", "version": 1}, "malformed leaf"),
        ({"type": "test_colour", "version": 1, "fields": {"name": "GREEN"}}, "GREEN"),
        ({"tuple": [{"array": "x", "library": "numpy"}]}, r"\[0\]: the array 'x' is missing"),
        ({"tuple": [1], "dict": {}}, "malformed"),
        ({"float": "1e5"}, "malformed"),
        ({"array": "x", "library": "os"}, "malformed"),
        ({"__class__": "x"}, "malformed"),
        (b"bytes", "malformed"),
    ],
)
def test_a_malformed_tree_is_named_and_not_built(tree, message):
    with pytest.raises(BundleError, match=message):
        from_tree(tree, {})


def test_deep_nesting_is_refused():
    tree: list = []
    for _ in range(5000):
        tree = [tree]
    with pytest.raises(BundleError, match="too deeply"):
        from_tree(tree, {})


def test_versions_newer_is_refused_and_older_is_upgraded():
    def upgrade(version, values):
        assert version == 1
        return {"celsius": values["kelvin"] - 273.15}

    @register("test_temperature", version=2, upgrade=upgrade)
    @dataclass(frozen=True)
    class Temperature:
        celsius: float

    tree = {"type": "test_temperature", "version": 1, "fields": {"kelvin": 273.15}}
    assert from_tree(tree, {}) == Temperature(0.0)
    with pytest.raises(BundleVersionError, match=r"version 3.*update Posterion"):
        from_tree(tree | {"version": 3}, {})


def test_a_name_belongs_to_one_class():
    with pytest.raises(ValueError, match="test_interval"):
        register("test_interval")(Unregistered)
    with pytest.raises(TypeError, match="no dataclass"):
        register("test_plain")(type("Plain", (), {}))


def test_a_name_of_a_room_not_yet_imported_is_found(tmp_path, monkeypatch):
    package = tmp_path / "posterion_test_room"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("import a_package_that_is_not_installed\n")
    (package / "shapes.py").write_text(
        "from dataclasses import dataclass\n"
        "from posterion.core.registry import register\n"
        "@register('test_lazy_circle')\n"
        "@dataclass(frozen=True)\n"
        "class Circle:\n"
        "    radius: float\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "ROOMS", ("posterion_no_such_room", "posterion_test_room"))
    circle = from_tree({"type": "test_lazy_circle", "version": 1, "fields": {"radius": 2.0}}, {})
    assert circle.radius == 2.0
