"""Build the docs site into _docs, from the notebooks as they are stored, and check it: every link leads somewhere, and no page asks another host for anything.

Usage: python .ci/make_docs.py [--quarto]

smalldocs renders; with --quarto, which the docs workflow gives, the Quarto that is installed does.
"""
import argparse, ast, os, posixpath, re, shutil, subprocess, sys, warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup
from execnb.nbio import read_nb, write_nb
from nbdev.config import get_config
from nbdev.processors import FilterDefaults
from nbdev.quarto import refresh_quarto_yml
from psychoscore.compose import PLAYED

ROOT = Path(__file__).parent.parent
NBS, PROC, DOCS = ROOT/"nbs", ROOT/"_proc", ROOT/"_docs"
SECTIONS = {"Start": "index.ipynb tutorials/*.ipynb", "How to": "howto/*.ipynb", "Explanation": "explanation/*.ipynb",
            "The six chapters": "[0-9]*.ipynb"} | {f"{name.capitalize()}": f"{name}/*.ipynb" for name in
            ("music", "pairs", "learning", "hearing", "composing", "judging", "serving", "running")}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
INSTRUMENT = re.compile(r"\*\*\[[^\]]*\]\([^)]*/play/index\.html\)\*\*")
ALONE = re.compile(r"^\s*(?:[-*] )?\[([^\]]*)\]\(([^)\s]+\.mid)\)(.*)$")


# ---- notebooks to pages

def only_imports(source: str) -> bool:
    "Whether a cell does nothing but import."
    try: body = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M)).body
    except SyntaxError: return False
    return all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body)

def is_run(cell, skipped: set) -> bool:
    "Whether a cell is executed for the docs: what is exported, and plain imports; nothing that works or needs data."
    directives = set(re.findall(r"^#\|\s*(\w+)", cell.source, re.M))
    if directives & {"export", "exports", "exporti"}: return "eval" not in directives
    return not directives & skipped and only_imports(cell.source)

def process_notebook(path: Path) -> Path:
    "Write the page of a notebook under its final name: docments as tables, exported code folded below them."
    notebook, skipped = read_nb(path), set(get_config().tst_flags.split())
    title = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown" and cell.source.startswith("# "))
    if title.count("\n\n") > 1: sys.exit(f"make_docs: {path.relative_to(ROOT)} says more than title and subtitle in its first cell, which nbdev drops: give the rest a cell of its own")
    for cell in notebook.cells:
        if cell.cell_type != "code": continue
        if module := re.match(r"#\|\s*default_exp\s+(\S+)", cell.source): cell.source += f"\nfrom psychoscore.{module[1]} import *" # annotations may name what a later cell defines
        if not is_run(cell, skipped): cell.source = "#| eval: false\n" + cell.source
        elif not only_imports(cell.source): cell.source = re.sub(r"^#\|\s*export\s*$", "#| exports", cell.source, flags=re.M)
    FilterDefaults()(notebook)
    for cell in notebook.cells:
        if cell.get("source"): cell.source = re.sub(r'^#\| code-fold: show\n#\| code-summary: .*$', '#| code-fold: true\n#| code-summary: "Source"', cell.source, flags=re.M)
    out = PROC/path.relative_to(NBS).with_name(notebook.frontmatter_["output-file"].replace(".html", ".ipynb"))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_nb(notebook, out)
    return out

def process_notebooks() -> dict:
    "Process all notebooks; notebook path to page path, both relative."
    shutil.rmtree(PROC, ignore_errors=True)
    os.environ["IN_TEST"] = "1" # as nbdev sets it while it does this
    paths = sorted(p for p in NBS.rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(NBS).parts))
    pages = {str(path.relative_to(NBS)): str(process_notebook(path).relative_to(PROC)) for path in paths}
    refresh_quarto_yml()
    for name in ("_quarto.yml", "nbdev.yml", "styles.css"): shutil.copy(NBS/name, PROC/name)
    shutil.copy(ROOT/"psychoscore/assets/page/favicon.svg", PROC/"favicon.svg")
    return pages


# ---- links

class Links:
    "Turns links that work in the repository into links that work on the site."
    def __init__(self, pages: dict):
        cfg = get_config()
        self.pages, self.host, self.git = pages, f"{cfg.doc_host}{cfg.doc_baseurl}/", f"{cfg.git_url}/%s/{cfg.branch}/"
        self.players, self.broken = {}, []

    def target(self, link: str, source: str, page: str) -> str:
        "Where a link goes: from a source file (path in the repository), for a page (path on the site)."
        if link.startswith(self.host): return self.relative(link.removeprefix(self.host), page)
        path, hash_, anchor = link.partition("#")
        if not path or urlsplit(link).scheme: return link
        for base in (posixpath.dirname(source), "", "nbs"):
            found = posixpath.normpath(posixpath.join(base, unquote(path)))
            if found.removeprefix("nbs/") in self.pages and found.startswith("nbs/"): return self.relative(self.pages[found.removeprefix("nbs/")].replace(".ipynb", ".html"), page) + hash_ + anchor
            if found.startswith("reports/") and (ROOT/found).is_file(): return self.relative(found.replace("README.md", "index.md").replace(".md", ".html"), page) + hash_ + anchor
            if not found.startswith("..") and (ROOT/found).exists(): return self.git % ("tree" if (ROOT/found).is_dir() else "blob") + found
        self.broken.append(f"{source} links to {link}, which is no file of the repository (link to notebooks, not to pages)")
        return link

    def relative(self, path: str, page: str) -> str: return posixpath.relpath(path, posixpath.dirname(page) or ".")

    def rewrite(self, text: str, source: str, page: str) -> str:
        "All links of a Markdown text; a line that only links to a MIDI file becomes a player, and the landing page holds the instrument."
        lines, fenced = [], False
        for line in text.split("\n"):
            fenced ^= line.lstrip().startswith("```")
            alone = None if fenced else ALONE.match(line)
            if alone: line = self.player(*alone.groups(), source, page)
            elif not fenced:
                framed = '\n\n<iframe class="instrument" src="play/index.html" title="The instrument"></iframe>\n' if page == "index.ipynb" and INSTRUMENT.match(line) else ""
                line = LINK.sub(lambda m: f"{m[1]}[{m[2]}]({self.target(m[3], source, page)})", line) + framed
            lines.append(line)
        return "\n".join(lines)

    def player(self, title: str, link: str, more: str, source: str, page: str) -> str:
        "A card that shows and plays a MIDI file of the reports."
        midi = self.target(link, source, page)
        found = posixpath.normpath(posixpath.join(posixpath.dirname(page), midi))
        if not (ROOT/found).is_file(): return f"[{title}]({midi}){more}"
        name = self.players.setdefault(found, found.removeprefix("reports/").removesuffix(".mid").replace("/", "-"))
        sound, roll = (self.relative(f"listen/{name}.{suffix}", page) for suffix in ("mp3", "png"))
        return (f'\n<figure class="listen"><figcaption>{title}{more} <a href="{midi}" download>MIDI</a></figcaption>'
                f'<img src="{roll}" alt="Piano roll: {title}"><audio controls preload="none" src="{sound}" aria-label="{title}"></audio></figure>\n')


def rewrite_pages(links: Links):
    "Rewrite the links of all pages, and copy the reports."
    for source, page in links.pages.items():
        notebook = read_nb(PROC/page)
        for cell in notebook.cells:
            if cell.cell_type == "markdown": cell.source = links.rewrite(cell.source, f"nbs/{source}", page)
            for output in cell.get("outputs", []):
                if "text/markdown" in output.get("data", {}): output["data"]["text/markdown"] = links.rewrite("".join(output["data"]["text/markdown"]), f"nbs/{source}", page)
        write_nb(notebook, PROC/page)
    shutil.copytree(ROOT/"reports", PROC/"reports", ignore=shutil.ignore_patterns("*.ipynb"))
    for path in [*ROOT.glob("*.md"), *ROOT.glob("data/*.md")]: links.rewrite(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)), "index.html") # no pages of the site, but their links are checked
    for path in PROC.glob("reports/**/*.md"):
        name = str(path.relative_to(PROC))
        text = links.rewrite(path.read_text(encoding="utf-8"), name, name)
        path.unlink() # a README is the index of its folder; no renderer makes a page of it under its own name
        path.with_name(path.name.replace("README.md", "index.md")).write_text(text, encoding="utf-8")

def render_players(players: dict):
    "Sound and picture of every MIDI file that a page plays."
    from psychoscore.piece import png_bytes
    from psychoscore.midi import read_midi
    from psychoscore.sound import mp3_bytes
    (PROC/"listen").mkdir(exist_ok=True)
    for path, name in players.items():
        notes = read_midi(ROOT/path).notes
        (PROC/f"listen/{name}.mp3").write_bytes(mp3_bytes(notes))
        (PROC/f"listen/{name}.png").write_bytes(png_bytes(notes))


# ---- the pages that no notebook has

def write_api(links: Links):
    "One line for every public name, linked to where it is explained."
    import importlib
    from psychoscore._modidx import d
    lines = ["# API", "", "Every public name, linked to its signature, its parameters and the cells around it.", ""]
    for module, symbols in sorted(d["syms"].items()):
        lines += [f"## {module}", "", "| name | what |", "|---|---|"]
        exported = importlib.import_module(module).__all__
        for name, (page, _) in symbols.items():
            short = name.removeprefix(f"{module}.")
            if short not in exported: continue
            said = (getattr(importlib.import_module(module), short).__doc__ or "").split("\n")[0].replace("|", "\\|")
            lines.append(f"| [`{short}`]({links.relative(page, 'api.html')}) | {said} |")
        lines.append("")
    (PROC/"api.md").write_text("\n".join(lines) + "\n", encoding="utf-8")

def write_sidebar(pages: dict):
    "The order of the site; every notebook must have a place."
    contents, placed = [], set()
    for section, patterns in SECTIONS.items():
        found = [str(p.relative_to(NBS)) for pattern in patterns.split() for p in sorted(NBS.glob(pattern))]
        contents.append({"section": section, "contents": [pages[name] for name in found]}); placed |= set(found)
    if missing := pages.keys() - placed: sys.exit(f"no place in SECTIONS of {Path(__file__).name} for {sorted(missing)}")
    reports = sorted(str(p.relative_to(PROC)) for p in PROC.glob("reports/**/*.md"))
    contents += [{"section": "Reference", "contents": ["api.md"]}, {"section": "Reports", "contents": reports}]
    (PROC/"sidebar.yml").write_text(yaml.safe_dump({"website": {"sidebar": {"contents": [c for c in contents if c["contents"]]}}}, sort_keys=False), encoding="utf-8")


# ---- the instrument


def copy_instrument(folder: Path):
    "Lay out the instrument, which asks for no server: its page, the model and the piano."
    assets = ROOT/"psychoscore/assets"
    shutil.copytree(assets/"page", folder/"page", ignore=shutil.ignore_patterns("*.html", "offline.js"))
    shutil.copytree(assets/"piano", folder/"piano")
    (folder/"model").mkdir()
    for name in PLAYED: shutil.copy(assets/"model"/name, folder/"model"/name)
    shutil.copy(assets/"page/instrument.html", folder/"index.html")
    shutil.copy(assets/"page/offline.js", folder/"offline.js") # beside the page, which is all that a service worker may keep


# ---- after rendering

def write_mathml(path: Path):
    "Let the browser set formulas by itself: smalldocs would load KaTeX from another host."
    from latex2mathml.converter import convert
    if not re.search(r'class="math ', text := path.read_text(encoding="utf-8")): return
    soup = BeautifulSoup(text, "html.parser")
    formulas = soup.select("span.math, div.math")
    for formula in formulas:
        display = "display" in formula["class"]
        tex = re.sub(r"^\\[(\[]|\\[)\]]$", "", formula.get_text().strip())
        formula.clear(); formula.append(BeautifulSoup(convert(tex, display="block" if display else "inline"), "html.parser"))
    for tag in soup.select('script[src*="katex"], link[href*="katex"]'): tag.decompose()
    path.write_text(str(soup), encoding="utf-8")

def drop_widget_scripts(path: Path):
    "Remove what Quarto puts into a page that shows an HTML output, in case that is a widget: scripts of another host. No stored output has a script."
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    found = [tag for tag in soup.find_all("script") if re.match(r"https://(cdnjs\.cloudflare\.com|unpkg\.com)/", tag.get("src") or "") or "define('jquery'" in tag.get_text()]
    for tag in found: tag.decompose()
    if found: path.write_text(str(soup), encoding="utf-8")

LOADING = {"script": "src", "img": "src", "audio": "src", "source": "src", "iframe": "src", "video": "src", "link": "href"} # Tag to what the browser fetches unasked

def problems_of(path: Path, soup: BeautifulSoup, ids: dict) -> list:
    "Links of a page that lead nowhere, and what it would fetch from elsewhere."
    found = []
    for tag in soup.find_all(list(LOADING)):
        url = tag.get(LOADING[tag.name]) or ""
        if re.match(r"(https?:)?//", url) and tag.get("rel") != ["canonical"]: found.append(f"fetches {url}")
    for tag in soup.find_all(href=True) + soup.find_all(src=True):
        url = urlsplit(tag.get("href") or tag.get("src"))
        if url.scheme or url.netloc: continue
        target = (path.parent/unquote(url.path)).resolve() if url.path else path
        if target.is_dir(): target = target/"index.html"
        if not target.is_file(): found.append(f"links to {url.geturl()}, which is not there")
        elif url.fragment and target.suffix == ".html" and unquote(url.fragment) not in ids[target]: found.append(f"links to {url.geturl()}, where no such place is")
    return found

def check_site(folder: Path) -> list:
    "All problems of the site in a folder."
    soups = {page.resolve(): BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser") for page in sorted(folder.rglob("*.html"))}
    ids = {page: {tag.get("id") or tag.get("name") for tag in soup.find_all(lambda t: t.get("id") or t.get("name"))} | {"top"} for page, soup in soups.items()}
    problems = [f"{page.relative_to(folder.resolve())}: {problem}" for page, soup in soups.items() for problem in problems_of(page, soup, ids)]
    problems += [f"{css.relative_to(folder)}: fetches {url}" for css in folder.rglob("*.css") for url in re.findall(r"(?:@import|url\()\s*[\"']?(?:url\()?[\"']?((?:https?:)?//[^\"')]+)", css.read_text(encoding="utf-8"))]
    return problems

def make_docs(quarto: bool):
    "Build, then check."
    sys.path.insert(0, str(ROOT))
    links = Links(process_notebooks())
    rewrite_pages(links)
    render_players(links.players)
    write_api(links); write_sidebar(links.pages)
    copy_instrument(PROC/"play")
    shutil.rmtree(DOCS, ignore_errors=True)
    command = ["quarto", "render", "--no-execute"] if quarto else [str(Path(sys.executable).with_name("smalldocs")), "render", "."]
    subprocess.run(command, cwd=PROC, check=True)
    shutil.move(PROC/DOCS.name, DOCS)
    for page in DOCS.rglob("*.html"): drop_widget_scripts(page) if quarto else write_mathml(page)
    problems = links.broken + check_site(DOCS)
    print(*problems, f"{len(list(DOCS.rglob('*.html')))} pages in {DOCS.name}, {len(problems)} problems", sep="\n", flush=True)
    os._exit(1 if problems else 0) # a shell for each notebook would collect garbage on leaving, for as long as the build took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quarto", action="store_true", help="render with Quarto instead of smalldocs")
    warnings.filterwarnings("ignore", "Found cells containing imports") # they are not executed here
    args = parser.parse_args()
    if args.quarto and not shutil.which("quarto"): parser.error("no quarto is installed here; without --quarto, smalldocs renders")
    make_docs(args.quarto)
