"""Compile csrc/page.c for the page into psychoscore/assets/page/model/kernel.wasm: clang and wasm-ld of LLVM 14.

What it was made of is written into it, so that a source that changed since is found where no compiler is.
"""
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
WASM = ROOT/"psychoscore/assets/page/model/kernel.wasm"
SOURCES = [ROOT/"csrc"/name for name in ("kernel.h", "step.h", "variant.h", "kernel.c", "page.c")]
EXPORTS = ["complaint", "padded", "weight_size", "plain_size", "cache_size", "work_size", "referee_size", "step", "referee",
           "__heap_base"]
FLAGS = ["--target=wasm32", "-nostdlib", "-std=c11", "-O3", "-msimd128", "-mbulk-memory", "-ffp-contract=off",
         "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wl,--no-entry",
         "-Wl,--strip-all", "-Wl,--stack-first", *(f"-Wl,--export={name}" for name in EXPORTS)]
SECTION = "sources" # Custom section, the last one


def sources_sha256() -> str:
    "Name what is compiled, and how."
    texts = [path.read_bytes().replace(b"\r\n", b"\n") for path in SOURCES] # as git has them
    return hashlib.sha256(b"\0".join([*texts, *map(str.encode, FLAGS)])).hexdigest()


def custom_section(name: str, content: bytes) -> bytes: # Both short
    "Write a section of WebAssembly that engines ignore."
    body = bytes([len(name)]) + name.encode() + content
    assert len(body) < 128 # LEB128 of one byte
    return bytes([0, len(body)]) + body


def make(path: Path):
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)/"kernel.wasm"
        subprocess.run(["clang", *FLAGS, ROOT/"csrc/page.c", "-o", made], check=True)
        path.write_bytes(made.read_bytes() + custom_section(SECTION, sources_sha256().encode()))


def main():
    make(WASM)
    print(f"{WASM.relative_to(ROOT)}: {WASM.stat().st_size/1000:.1f} kB")


if __name__ == "__main__": sys.exit(main())
