"""Packaging: every setting lives in settings.ini.

The kernel in csrc/ is compiled where a compiler is at hand, and left out where none is. PSYCHOSCORE_PURE=1 leaves it out
anyway: what is built then runs on every machine.
"""
import os
import shlex
import sys
import sysconfig
from configparser import ConfigParser
from pathlib import Path
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here/"settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]


def words(key): return shlex.split(cfg.get(key, ""))


# No contraction: a product and a sum are fused where the kernel says so and nowhere else, or the bits would differ. So they
# would with -ffast-math, which may be in somebody's CFLAGS.
kernel = Extension(
    "psychoscore._kernel", ["csrc/kernel.c", "csrc/module.c"], optional=True, py_limited_api=True,
    depends=[f"csrc/{name}.h" for name in ("kernel", "step", "variant")],
    extra_compile_args=["-std=c11", "-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi",
                        "-fvisibility=hidden"])


class build_fresh(build_ext):
    "What an earlier build left is not taken for what could not be compiled; without the kernel, a wheel is for every machine."
    def run(self):
        self.in_source = self.inplace # which setuptools hides from what follows
        super().run()
        if any(map(os.path.exists, self.get_outputs())): return
        self.distribution.ext_modules = []
        if wheel := self.distribution.get_command_obj("bdist_wheel", create=False): wheel.root_is_pure = True

    def build_extension(self, ext):
        stale = [self.get_ext_fullpath(ext.name)]
        if self.in_source: stale.append(os.path.join(*ext.name.split(".")) + ".abi3.so")
        for path in filter(os.path.exists, stale): os.unlink(path)
        super().build_extension(ext)


# MSVC has no vectors of the kind that the kernel is written in, and Pythons without a GIL no wheels for all versions.
is_pure = bool(os.environ.get("PSYCHOSCORE_PURE") or sys.platform == "win32" or sysconfig.get_config_var("Py_GIL_DISABLED"))

setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"],
    author=cfg["author"], author_email=cfg["author_email"], keywords=cfg["keywords"],
    url=cfg["git_url"], license="Apache-2.0",
    long_description=(here/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    package_dir={"": "."}, # says what is so anyway, and lets an editable install be a path: its other way is shadowed by a clone that lies in the current folder
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"]+".*"]),
    package_data={cfg["lib_path"]: words("package_data")},
    ext_modules=[] if is_pure else [kernel], cmdclass={"build_ext": build_fresh},
    options={} if is_pure else {"bdist_wheel": {"py_limited_api": "cp311"}}, # one wheel for every Python from 3.11 on
    python_requires=">="+cfg["min_python"],
    install_requires=words("requirements"),
    extras_require={key.removesuffix("_requirements"): words(key) for key in cfg if key.endswith("_requirements")},
    entry_points={"console_scripts": words("console_scripts"),
                  "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False,
)
