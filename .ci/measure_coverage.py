"""Which lines of the package do the notebooks and the tests run? Writes reports/coverage.md.

Usage: python .ci/measure_coverage.py [--flags "emopia"] [--fail-under 85]

A notebook's exported cells are run by importing the module, not by the notebook (its own copies would not count), so each
notebook is executed with its exported definitions taken from the package.
"""
import argparse, os, re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORT = ROOT/"reports/coverage.md"


def run_notebook(path: Path, flags: set):
    "Run a notebook's cells against the module that it exports."
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    from fastcore.xtras import working_directory
    from execute_notebooks import skipped_cells
    notebook, skip = read_nb(path), skipped_cells(path, flags)
    module = next((m[1] for cell in notebook.cells if (m := re.match(r"#\|\s*default_exp\s+(\S+)", cell.source))), None)
    for cell in notebook.cells:
        if re.search(r"^#\|\s*exports?\b", cell.source, re.M): cell.source = re.sub(r"^#\|.*$", "", cell.source, flags=re.M) if only_imports(cell.source) else ""
    shell = CaptureShell(path)
    if module: shell.run_cell(f"from psychoscore.{module} import *; import psychoscore.{module} as _m; globals().update({{k: v for k, v in vars(_m).items() if k[:2] != '__'}})")
    with working_directory(path.parent): shell.run_all(notebook, exc_stop=True, preproc=lambda cell: cell.cell_type != "code" or cell.idx_ in skip or not cell.source.strip())

def only_imports(source: str) -> bool:
    import ast
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in ast.parse(source).body)

def write_report(text: str):
    "The table of coverage as a page."
    lines = [line.split(maxsplit=4) for line in text.splitlines() if re.match(r"psychoscore/|TOTAL", line)]
    rows = [f"| {'**all**' if name == 'TOTAL' else f'`{name}`'} | {statements} | {cover} | {missing[0] if missing else ''} |" for name, statements, _, cover, *missing in lines]
    REPORT.write_text("\n".join(["# Coverage", "", "Lines of the package that neither a notebook nor a test runs, by `make coverage`: cells and tests that are run by default, `emopia` where the dataset is given. Code that runs in other processes than the test's own counts as not run.", "",
                                 "| module | statements | run | lines not run |", "|---|---|---|---|", *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flags", default="")
    parser.add_argument("--fail-under", type=float, default=0)
    parser.add_argument("--notebook", help="used by the script itself")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT/".ci")]
    if args.notebook:
        from nbdev.config import get_config
        run_notebook(Path(args.notebook).absolute(), set(get_config().tst_flags.split()) - set(args.flags.split()))
        sys.exit()
    environment = os.environ | dict(COVERAGE_FILE=str(ROOT/".coverage"), PYTHONPATH=str(ROOT))
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "erase"], cwd=ROOT, env=environment, check=True)
    for notebook in sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts):
        subprocess.run([*coverage, "run", "--append", "--source", "psychoscore", __file__, "--notebook", str(notebook), "--flags", args.flags], cwd=ROOT, env=environment, check=True)
    subprocess.run([*coverage, "run", "--append", "--source", "psychoscore", "-m", "pytest", "-q", "tests"], cwd=ROOT, env=environment, check=True)
    write_report(subprocess.run([*coverage, "report", "-m"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout)
    sys.exit(subprocess.run([*coverage, "report", "--fail-under", str(args.fail_under)], cwd=ROOT, env=environment).returncode)
