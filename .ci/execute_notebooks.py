"""Execute notebooks in place and store their outputs, by nbdev's own rules for what to leave out.

Usage: python .ci/execute_notebooks.py [--flags "emopia slow"] NOTEBOOK...
nbdev_test runs the same cells but stores nothing.
"""
import argparse, base64, sys, time
from multiprocessing import get_context
from pathlib import Path

from execnb.nbio import read_nb, write_nb
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor

from psychoscore.plots import pack_png


def skipped_cells(path, flags):
    "Indices of code cells that nbdev_test would not run."
    skip = set()
    for i, cell in enumerate(NBProcessor(path, procs=FrontmatterProc, process=True).nb.cells):
        directives = getattr(cell, "directives_", {}) or {}
        never = directives.get("eval:", [""])[0].lower() == "false"
        if cell.cell_type == "code" and (never or flags & directives.keys()): skip.add(i)
    return skip


def pack(notebook):
    "Store pictures with few colours, as files of figures are."
    for data in (output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])):
        if "image/png" in data: data["image/png"] = base64.b64encode(pack_png(base64.b64decode(data["image/png"]))).decode()


def execute(path, flags):
    "Run one notebook where it stands; an error stops it and nothing is stored."
    path, start = Path(path).absolute(), time.time()
    skip, notebook = skipped_cells(path, flags), read_nb(path)
    kept = {i: (notebook.cells[i].outputs, notebook.cells[i].execution_count) for i in skip}
    shell = CaptureShell(path)
    with working_directory(path.parent):
        shell.run_all(notebook, exc_stop=True, preproc=lambda cell: cell.cell_type != "code" or cell.idx_ in skip)
    pack(notebook)
    for i, (outputs, count) in kept.items(): notebook.cells[i].outputs, notebook.cells[i].execution_count = outputs, count
    write_nb(notebook, path)
    print(f"{path.name}: {len(skip)} cells left out, {time.time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flags", default="", help="flags of tst_flags whose cells are run")
    parser.add_argument("notebooks", nargs="+")
    args = parser.parse_args()
    if wrong := [name for name in args.notebooks if not (name.endswith(".ipynb") and Path(name).is_file())]: parser.error(f"no notebook at {', '.join(wrong)}")
    sys.path.insert(0, str(get_config().config_path))
    left_out = set(get_config().tst_flags.split()) - set(args.flags.split())
    for notebook in args.notebooks: # each in a fresh process: what one sets, such as matplotlib's rcParams, must not reach the next
        (run := get_context("spawn").Process(target=execute, args=(notebook, left_out))).start()
        run.join()
        if run.exitcode: sys.exit(run.exitcode)
