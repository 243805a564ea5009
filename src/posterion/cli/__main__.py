"""``python -m posterion.cli``."""

from posterion.cli import program

if __name__ == "__main__":
    program()
