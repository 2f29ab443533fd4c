"Fail when cleaning or exporting the notebooks, or making the README, would change a file: then something was edited in the wrong place, or not exported."
import hashlib, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def fingerprints():
    "File to digest, for all that the commands may write."
    paths = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("psychoscore/*.py"), ROOT/"README.md", *ROOT.glob("reports/figures/readme/*")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if ".ipynb_checkpoints" not in path.parts}


before = fingerprints()
bin_ = Path(sys.executable).parent
for command in ([bin_/"nbdev_clean"], [bin_/"nbdev_export"], [sys.executable, ROOT/".ci/make_readme.py"]):
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True)
after = fingerprints()
changed = sorted(str(path.relative_to(ROOT)) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
if changed: sys.exit("not up to date (the new state is in your working tree; look at it and commit it): " + ", ".join(changed))
