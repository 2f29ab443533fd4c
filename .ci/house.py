"""What imports what, floor by floor, and how large the rooms are: python .ci/house.py

A module belongs to the notebook that exports it, and its floor is that notebook's folder, or the chapter. Imports inside
functions count like those at the top. Ends with 1 where modules import each other in a circle, or one of a floor above.
"""
import ast
import json
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
FLOORS = ["music", "00_emopia", "pairs", "01_synthetic", "02_contrastive", "learning", "03_train", "04_temperature",
          "hearing", "composing", "judging", "serving", "05_serve", "running", "tutorials"] # From the ground up
LONG_CELL, LONG_LINE = 40, 120 # Lines, columns


def notebooks(root: Path = ROOT) -> dict[str, Path]: # Module -> the notebook that exports it
    "Find every module's notebook."
    found = {}
    for path in sorted(root.glob("nbs/**/[!.]*.ipynb")):
        if ".ipynb_checkpoints" in path.parts: continue
        if name := re.search(r"#\| *default_exp (\w+)", path.read_text(encoding="utf-8")): found[name[1]] = path
    return found


def floor(notebook: Path, root: Path = ROOT) -> str: # One of FLOORS
    "Say where a notebook stands."
    place = notebook.relative_to(root/"nbs").parts
    return place[0].removesuffix(".ipynb")


def imports(module: str, known: set[str], root: Path = ROOT) -> set[str]:
    "Modules of the package that a module imports anywhere."
    found = set()
    for node in ast.walk(ast.parse((root/f"psychoscore/{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = f"psychoscore.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("psychoscore.") for name in found} & known - {module}


def faults(floors: dict[str, str], graph: dict[str, set[str]]) -> list[str]: # In words
    "Circles, and arrows that lead upwards."
    found = [f"{module} is on no floor: {where}" for module, where in floors.items() if where not in FLOORS]
    if found: return found
    try: TopologicalSorter(graph).prepare()
    except CycleError as error: found.append(f"a circle: {' imports '.join(reversed(error.args[1]))}")
    height = {module: FLOORS.index(where) for module, where in floors.items()}
    return found + [f"{module} ({floors[module]}) imports {other} ({floors[other]}), which is above it"
                    for module, others in graph.items() for other in sorted(others) if height[other] > height[module]]


def exported_cells(notebook: Path) -> list[str]:
    "Sources of the cells that make the module, without the directive."
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [re.sub(r"^#\| *export\w*\n", "", source) for source in sources if re.match(r"#\| *export", source)]


def public_names(module: str, root: Path = ROOT) -> int:
    "Length of a module's `__all__`."
    tree = ast.parse((root/f"psychoscore/{module}.py").read_text(encoding="utf-8"))
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return len(lists[0].elts) if lists else 0


def counts(made: dict[str, Path], root: Path = ROOT) -> dict[str, object]:
    "How large the rooms are."
    cells = {(module, n): source.splitlines() for module, path in made.items() for n, source in enumerate(exported_cells(path))}
    sizes = {module: len((root/f"psychoscore/{module}.py").read_text(encoding="utf-8").splitlines()) for module in made}
    largest = max(sizes, key=sizes.__getitem__)
    targets = re.findall(r"^([\w-]+):", (root/"Makefile").read_text(encoding="utf-8"), re.M)
    return {"modules": len(made), "exported cells": len(cells), "median lines of a cell": median(map(len, cells.values())),
            f"cells over {LONG_CELL} lines": sum(len(lines) > LONG_CELL for lines in cells.values()),
            f"lines over {LONG_LINE} columns": sum(len(line) > LONG_LINE for lines in cells.values() for line in lines),
            "public names": sum(public_names(module, root) for module in made),
            "largest module": f"{largest}, {sizes[largest]} lines", "Makefile targets": len(targets)}


def main():
    made = notebooks()
    floors = {module: floor(path) for module, path in made.items()}
    graph = {module: imports(module, set(made)) for module in made}
    for where in FLOORS:
        for module in sorted(m for m in made if floors[m] == where):
            print(f"{where:15} {module:14} {', '.join(sorted(graph[module], key=lambda m: (FLOORS.index(floors[m]), m)))}")
    print()
    for name, number in counts(made).items(): print(f"{name:26} {number}")
    if found := faults(floors, graph): sys.exit("\n".join(["", *found]))


if __name__ == "__main__": main()
