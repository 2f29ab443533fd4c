"""Which lines of the package do the notebooks and the tests run? Writes reports/coverage.md.

Usage: python .ci/measure_coverage.py [--flags "emopia"] [--fail-under 85] [NOTEBOOK_OR_TEST...]

A notebook's exported cells are run by importing the module, not by the notebook (its own copies would not count), so each
notebook is executed with its exported definitions taken from the package. Processes that a test starts are measured, too.
Given some notebooks or tests, it prints what these run, and writes nothing.
"""
import argparse, os, re, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORT = ROOT/"reports/coverage.md"


def run_notebook(path: Path, flags: set):
    "Run a notebook's cells against the module that it exports."
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    from fastcore.xtras import working_directory
    from execute_notebooks import skipped_cells
    from make_docs import only_imports
    notebook, skip = read_nb(path), skipped_cells(path, flags)
    module = next((m[1] for cell in notebook.cells if (m := re.match(r"#\|\s*default_exp\s+(\S+)", cell.source))), None)
    for cell in notebook.cells:
        if re.search(r"^#\|\s*exports?\b", cell.source, re.M): cell.source = re.sub(r"^#\|.*$", "", cell.source, flags=re.M) if only_imports(cell.source) else ""
    shell = CaptureShell(path)
    if module: shell.run_cell(f"from psychoscore.{module} import *; import psychoscore.{module} as _m; globals().update({{k: v for k, v in vars(_m).items() if k[:2] != '__'}})")
    with working_directory(path.parent): shell.run_all(notebook, exc_stop=True, preproc=lambda cell: cell.cell_type != "code" or cell.idx_ in skip or not cell.source.strip())

def write_report(text: str):
    "The table of coverage as a page."
    from psychoscore.checkpoint import find_commit
    lines = [line.split(maxsplit=4) for line in text.splitlines() if re.match(r"psychoscore/|TOTAL", line)]
    rows = [f"| {'**all**' if name == 'TOTAL' else f'`{name}`'} | {statements} | {cover} | {missing[0] if missing else ''} |" for name, statements, _, cover, *missing in lines]
    REPORT.write_text("\n".join(["# Coverage", "", f"Lines of the package that neither a notebook nor a test runs, by `make coverage` at commit `{find_commit()}`: cells and tests that are run by default, `emopia` where the dataset is given. Processes that tests start are measured; those that tests kill lose what they had counted.", "",
                                 "| module | statements | run | lines not run |", "|---|---|---|---|", *rows]) + "\n", encoding="utf-8")

def measure(notebooks: list, tests: list, flags: str, folder: Path) -> tuple:
    "Run all under coverage; the command that reads the result, and whether all passed."
    (folder/"coveragerc").write_text(f"[run]\nsource = psychoscore\nomit = */_modidx.py\nparallel = true\npatch = subprocess\ndata_file = {folder/'data'}\n[report]\nskip_empty = true\n")
    environment = os.environ | dict(PYTHONPATH=str(ROOT))
    coverage = [sys.executable, "-m", "coverage"]
    run = [*coverage, "run", f"--rcfile={folder/'coveragerc'}"]
    commands = [[__file__, "--flags", flags, "--notebook", notebook] for notebook in notebooks]
    def passes(command):
        if not (failed := subprocess.run([*run, *command], cwd=ROOT, env=environment).returncode): return True
        print(f"{command[-1]} failed with {failed}", flush=True)
    with ThreadPoolExecutor(2) as pool: passed = list(pool.map(passes, commands))
    if tests: # --help has half a second, and counting lines takes its share of it
        passed.append(passes(["-m", "pytest", "-q", "-n2", "--durations=25", "--dist=loadfile", "--deselect=tests/test_cli.py::test_help_is_quick_and_leaves_torch_alone", *tests]))
    subprocess.run([*coverage, "combine", "-q", f"--rcfile={folder/'coveragerc'}"], cwd=ROOT, check=True)
    return [*coverage, "report", f"--rcfile={folder/'coveragerc'}"], all(passed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="notebooks and tests; all by default")
    parser.add_argument("--flags", default="")
    parser.add_argument("--fail-under", type=float, default=0)
    parser.add_argument("--notebook", help="used by the script itself")
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT/".ci")]
    if args.notebook:
        from nbdev.config import get_config
        run_notebook(Path(args.notebook).absolute(), set(get_config().tst_flags.split()) - set(args.flags.split()))
        sys.exit()
    paths = args.paths or [*sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("nbs/**/[!.]*.ipynb") if ".ipynb_checkpoints" not in p.parts), "tests"]
    with tempfile.TemporaryDirectory() as folder:
        report, passed = measure([p for p in paths if p.endswith(".ipynb")], [p for p in paths if not p.endswith(".ipynb")], args.flags, Path(folder))
        if not args.paths: write_report(subprocess.run([*report, "-m"], cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        code = subprocess.run([*report, "--fail-under", str(args.fail_under)], cwd=ROOT).returncode
        sys.exit(code if passed else "something failed: less was run than could be")
