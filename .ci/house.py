"""What imports what, floor by floor, and how large the rooms are: python .ci/house.py

A module belongs to the notebook that exports it, and its floor is that notebook's folder, or the chapter. Imports inside
functions count like those at the top. Ends with 1 where modules import each other in a circle, or one of a floor above.
"""
import ast
import json
import re
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import takewhile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
FLOORS = ["music", "00_emopia", "pairs", "01_synthetic", "02_contrastive", "learning", "03_train", "04_temperature",
          "hearing", "composing", "judging", "serving", "05_serve", "running", "tutorials"] # From the ground up
LONG_CELL, LONG_LINE = 40, 120 # Lines, columns
PACKAGE = "psychoscore"


def notebooks(root: Path = ROOT) -> dict[str, Path]: # Module -> the notebook that exports it
    "Find every module's notebook."
    found = {}
    for path in sorted(root.glob("nbs/**/[!.]*.ipynb")):
        if ".ipynb_checkpoints" in path.parts: continue
        if name := re.search(r"#\| *default_exp (\w+)", path.read_text(encoding="utf-8")): found[name[1]] = path
    return found


def floor(notebook: Path, root: Path = ROOT) -> str: # One of FLOORS
    "Say where a notebook stands."
    return notebook.relative_to(root/"nbs").parts[0].removesuffix(".ipynb")


def imports(source: str, known: set[str]) -> set[str]: # Of a module's source; names of the package's modules
    "Modules of the package that a module imports anywhere, those named in `known`."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = f"{PACKAGE}.{node.module or ''}".rstrip(".") if node.level else node.module
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {name.removeprefix(f"{PACKAGE}.") for name in found if name.startswith(f"{PACKAGE}.")} & known


def faults(floors: dict[str, str], graph: dict[str, set[str]]) -> list[str]: # In words
    "Circles, and arrows that lead upwards."
    found = [f"{module} is on no floor: {where}" for module, where in floors.items() if where not in FLOORS]
    if found: return found
    try: TopologicalSorter(graph).prepare()
    except CycleError as error: found.append(f"a circle: {' imports '.join(reversed(error.args[1]))}")
    height = {module: FLOORS.index(where) for module, where in floors.items()}
    return found + [f"{module} ({floors[module]}) imports {other} ({floors[other]}), which is above it"
                    for module, others in graph.items() for other in sorted(others) if height[other] > height[module]]


def exported_cells(notebook: Path) -> list[list[str]]: # Lines of each
    "The cells that make the module, without their directives."
    found = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        lines = "".join(cell["source"]).splitlines()
        directives = list(takewhile(lambda line: line.startswith("#|"), lines))
        if any(re.match(r"#\| *export", line) for line in directives): found.append(lines[len(directives):])
    return found


def read_module(module: str, root: Path = ROOT) -> str: # Its source
    return (root/PACKAGE/f"{module}.py").read_text(encoding="utf-8")


def public_names(source: str) -> list[str]: # Of a module
    "Its `__all__`."
    lists = [node.value for node in ast.parse(source).body
             if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return [name.value for name in lists[0].elts] if lists else []


def commands(source: str) -> set[str]: # Of a module
    "Functions that are commands: each has the name of the function that it runs."
    return {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
            and any(ast.unparse(mark).startswith("app.command(") for mark in node.decorator_list)}


def shared_names(sources: dict[str, str]) -> dict[str, list[str]]: # Module -> its source; name -> its modules
    "Public names of more than one module, commands apart."
    owners = {}
    for module, source in sources.items():
        for name in set(public_names(source)) - commands(source): owners.setdefault(name, []).append(module)
    return {name: modules for name, modules in sorted(owners.items()) if len(modules) > 1}


def make_targets(makefile: str) -> list[str]: # Of its text
    "What can be made by name; files such as .venv/.installed are none."
    return re.findall(r"^([\w-]+):(?!=)", makefile, re.M)


def counts(made: dict[str, Path], root: Path = ROOT) -> dict[str, object]:
    "How large the rooms are."
    cells = [cell for path in made.values() for cell in exported_cells(path)]
    sources = {module: read_module(module, root) for module in made}
    sizes = {module: len(source.splitlines()) for module, source in sources.items()}
    largest = max(sizes, key=sizes.__getitem__)
    return {"modules": len(made), "exported cells": len(cells), "median lines of a cell": median(map(len, cells)),
            f"cells over {LONG_CELL} lines": sum(len(lines) > LONG_CELL for lines in cells),
            f"lines over {LONG_LINE} columns": sum(len(line) > LONG_LINE for lines in cells for line in lines),
            "public names": sum(len(public_names(source)) for source in sources.values()),
            "largest module": f"{largest}, {sizes[largest]} lines",
            "Makefile targets": len(make_targets((root/"Makefile").read_text(encoding="utf-8")))}


def main():
    made = notebooks()
    floors = {module: floor(path) for module, path in made.items()}
    graph = {module: imports(read_module(module), set(made)) for module in made}
    for where in FLOORS:
        for module in sorted(m for m in made if floors[m] == where):
            print(f"{where:15} {module:14} {', '.join(sorted(graph[module], key=lambda m: (FLOORS.index(floors[m]), m)))}")
    print()
    for name, number in counts(made).items(): print(f"{name:26} {number}")
    if found := faults(floors, graph): sys.exit("\n".join(["", *found]))


if __name__ == "__main__": main()
