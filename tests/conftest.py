"""What every test has: type checks while rooms run, a compilation cache, data from outside."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]

# Set before JAX is imported, which the rooms do when they are.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
# A bound makes JAX lock the cache: else one worker may load what another has half written.
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(4 << 30))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault("MPLBACKEND", "Agg")
if os.environ["JAX_PLATFORMS"] == "cpu":
    # The compiler's optimiser takes most of the time, for programs that run once. What XLA_FLAGS
    # says already stays: `XLA_FLAGS= make test` compiles as a user's programs are compiled.
    quick = "--xla_backend_optimization_level=0"
    if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # XLA aborts at unknown flags
        quick += " --xla_cpu_use_fusion_emitters=false"
    os.environ.setdefault("XLA_FLAGS", quick)

install_import_hook("posterion", "beartype.beartype")


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Each compiled program holds maps of memory, and Linux allows a process 65 530: it aborts."""
    yield
    import jax

    jax.clear_caches()


@pytest.fixture
def strict_dtypes() -> Iterator[None]:
    """Strict dtype promotion, for the project's own bijections and networks.

    Whole files ask for it by ``pytestmark = pytest.mark.usefixtures("strict_dtypes")``.
    """
    import jax

    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of inputs from outside that ``POSTERION_DATA`` names; without it, a skip."""
    name = os.environ.get("POSTERION_DATA")
    if not name:
        pytest.skip("needs data from outside: set POSTERION_DATA to its folder")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"POSTERION_DATA names {folder}, which is no folder")
    return folder


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_python(code, *arguments)``: a new process in an empty folder, warnings as errors.

    It shares no compilation cache with the tests, so that it may be killed at any moment.
    """

    def run(code: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        settings: dict = {"check": True, "timeout": 300, "env": environment} | options
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            **settings,
        )

    return run


@pytest.fixture(autouse=True)
def _flags_stay() -> Iterator[None]:
    """JAX's global precision flag is after every test as it was before."""
    jax = sys.modules.get("jax")
    before = jax is not None and jax.config.jax_enable_x64
    yield
    jax = sys.modules.get("jax")
    assert before == (jax is not None and jax.config.jax_enable_x64), "jax_enable_x64 was changed"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pages, which take minutes, come first in either half: each of two workers begins one."""
    pages = [item for item in items if "::test_page_runs[" in item.nodeid]
    others = [item for item in items if "::test_page_runs[" not in item.nodeid]
    half = len(others) // 2
    items[:] = [*pages[::2], *others[:half], *pages[1::2], *others[half:]]
