"List the scripts in bench/, each with what it measures: the first line of its docstring."
import ast
from pathlib import Path

BENCH = Path(__file__).parent.parent/"bench"


def main():
    measured = {path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))).splitlines()[0]
                for path in sorted(BENCH.glob("*.py")) if path.stem != "common"}
    for name, line in measured.items(): print(f"{name:12} {line}")
    print("\nmake bench NAME=decode                     measures again what reports/bench/decode.json holds"
          "\nmake bench NAME=decode ARGS=--help         says what can be set")


if __name__ == "__main__": main()
