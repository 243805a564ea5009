"""The versions of Posterion and of what its numbers depend on, found without importing them."""

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_PACKAGES = (
    "posterion",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "blackjax",
    "numpyro",
    "numpy",
    "scipy",
)


def versions() -> dict[str, str]:
    """The version of Python and of each installed package that Posterion computes with."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
