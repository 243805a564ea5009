"""Every error that Posterion raises on purpose, under one name: ``posterion.errors``."""

from posterion.core.errors import *  # noqa: F403
