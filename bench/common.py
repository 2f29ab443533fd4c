"What the benchmarks share: where reports lie, a script's options, how a report is written, and how a script ends."
import argparse
import json
import os
import sys
from pathlib import Path

REPORTS = Path(__file__).parent.parent/"reports"


def make_parser(doc: str, out: str) -> argparse.ArgumentParser: # A script's docstring; where its report lies in reports/
    "Options of a script; --out is there already."
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPORTS/out, help=f"where the report goes: reports/{out} by default")
    return parser


def data_folders(parser: argparse.ArgumentParser, *names: str) -> list[Path]:
    "Folders of PSYCHOSCORE_DATA; where one is missing, the script ends with a sentence."
    root = os.environ.get("PSYCHOSCORE_DATA")
    if not root: parser.error(f"set PSYCHOSCORE_DATA to a folder that holds {' and '.join(names)}")
    folders = [Path(root)/name for name in names]
    for folder in folders:
        if not folder.is_dir(): parser.error(f"no folder {folder}: PSYCHOSCORE_DATA is {root}")
    return folders


def write_json(report: dict, path: Path, **options):
    "Write a report and the folder that it goes to."
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, **options) + "\n", encoding="utf-8")


def run_script(main):
    "Run a script; a file or folder that is not there is told in a line."
    try: sys.exit(main())
    except FileNotFoundError as error: sys.exit(f"{Path(sys.argv[0]).name}: {error}")
