"""``python -m posterion.cli``."""

from posterion.cli import main

main()
