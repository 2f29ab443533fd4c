"Learn the judge that is given notes alone again, into psychoscore/assets, and print its figures (many minutes of one core)."
import argparse
from pathlib import Path

import pandas as pd

from psychoscore.note_judge import make_note_judge

ASSETS = Path(__file__).parent.parent/"psychoscore/assets"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judges", type=Path, help="a folder that keeps judges of rules from run to run")
    about = make_note_judge(ASSETS, kept=parser.parse_args().judges)
    print(pd.DataFrame({name: {dial: found[dial]["rank_correlation"] for dial in ("trauma", "entropy")}
                        for name, found in about.items() if name.startswith("training")}).T.to_string())


if __name__ == "__main__": main()
