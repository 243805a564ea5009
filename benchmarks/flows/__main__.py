"""Print the section: ``python -m benchmarks.flows [--quick] [--steps N] [--parts PART ...]``."""

import argparse

from benchmarks.flows import accuracy, choosing, discflow, distilling, speed
from benchmarks.flows.client import OURS, Library, available
from benchmarks.tables import machine

PARTS = ("speed", "accuracy", "distilling", "discflow", "choosing")


def versions(names: list[str]) -> str:
    """What each process says of itself."""
    said = []
    for name in names:
        library = Library(name, None)
        found = library.ask("versions")["versions"]
        library.close()
        said.append(f"- {name}: {', '.join(f'{k} {v}' for k, v in found.items())}")
    return "\n".join(said)


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flows", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small settings, ours alone")
    parser.add_argument("--steps", type=int, default=4000, help="of training, for the accuracy")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    names = [OURS] if asked.quick else available()
    if names == [OURS]:
        print("Posterion alone; `make peers` makes the environment of the others.\n")
    print(f"{machine()}.\n\n{versions(names)}\n")
    if "speed" in asked.parts:
        print(speed.section(names, asked.quick) + "\n")
    if "accuracy" in asked.parts:
        print(accuracy.section(names, 20 if asked.quick else asked.steps, asked.quick) + "\n")
    if "distilling" in asked.parts:
        print(distilling.section(asked.quick) + "\n")
    if "discflow" in asked.parts:
        print(discflow.section(asked.quick) + "\n")
    if "choosing" in asked.parts:
        print(choosing.section(asked.quick))


if __name__ == "__main__":
    main()
