"""What judges hear of the packaged model by the release protocol: the dial, arcs, form, quality and novelty.

Usage: python bench/report.py --data FOLDER [--out reports/report] [what else `psychoscore report` takes]
FOLDER is written by `psychoscore prepare`, with EMOPIA. The page is reports/report/report.md.
"""
import os
import subprocess
import sys

from bench.common import make_parser, run_script


def main():
    parser = make_parser(__doc__, "report")
    parser.add_argument("--data", required=True, help="folder written by `psychoscore prepare`, with EMOPIA")
    args, more = parser.parse_known_args()
    command = ["report", "--data", args.data, "--out", args.out, "--processes", os.cpu_count(), *more]
    return subprocess.run([sys.executable, "-m", "psychoscore", *map(str, command)], check=False).returncode


if __name__ == "__main__": run_script(main)
