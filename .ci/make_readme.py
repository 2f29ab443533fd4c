"Write README.md and its pictures from nbs/index.ipynb with nbconvert; cells marked `#| hide` or `#| echo: false` lose their code."
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
PICTURES = Path("reports/figures/readme")


def hidden(cell, directive): return cell.cell_type == "code" and cell.source.startswith(f"#| {directive}")


def make_readme(root=ROOT):
    "Convert the index notebook as it is stored; nothing is executed."
    notebook = nbformat.read(root/"nbs/index.ipynb", as_version=4)
    notebook.metadata["language_info"] = {"name": "python"} # for the fences
    notebook.cells = [cell for cell in notebook.cells if not hidden(cell, "hide")]
    for cell in notebook.cells:
        cell.metadata["transient"] = {"remove_source": hidden(cell, "echo: false")}
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"output_files_dir": str(PICTURES), "unique_key": "index"})
    for name, data in resources["outputs"].items():
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(data)
    header = "<!-- Made from nbs/index.ipynb by `make readme`: edit it there. -->\n\n"
    (root/"README.md").write_text(header + text.strip() + "\n", encoding="utf-8")


if __name__ == "__main__": make_readme()
