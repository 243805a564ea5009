"""``python -m posterion.cli``."""

from posterion.cli import main

if __name__ == "__main__":
    main()
