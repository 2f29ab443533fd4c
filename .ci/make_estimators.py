"Learn the profile estimators and the table of relations from EMOPIA again, into psychoscore/assets, and print their figures."
from pathlib import Path

from psychoscore.explain import save_relations
from psychoscore.estimators import figures_table, make_estimators

ASSETS = Path(__file__).parent.parent/"psychoscore/assets"


def main():
    print(figures_table(make_estimators(ASSETS)).to_string())
    print(save_relations(ASSETS))


if __name__ == "__main__": main()
