"What several tests share."
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from psychoscore import cli
from psychoscore.dataset import SourcePiece, prepare
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.search import index_folder

# For tests that take minutes and download: the suite leaves them out.
slow = pytest.mark.skipif(not os.environ.get("PSYCHOSCORE_SLOW"), reason="takes minutes: PSYCHOSCORE_SLOW=1 runs it")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    "A prepared folder of random pieces, small enough to train on in seconds."
    rng = np.random.default_rng(0)
    def piece(i):
        notes = make_notes(np.arange(60)*0.25, np.full(60, 0.25), rng.integers(50, 80, 60), rng.integers(40, 90, 60))
        return SourcePiece(f"p{i}", f"p{i}", "emopia", "train" if i < 20 else "validation", "CC0", notes, PsychometricProfile(i % 2, rng.uniform(0.45, 0.55)))
    folder = tmp_path_factory.mktemp("data")
    prepare([piece(i) for i in range(24)], folder, copies=1)
    return folder


@pytest.fixture
def command(capsys, monkeypatch):
    "Run the command in this process, where torch is imported once for all tests; what comes is as from `subprocess.run`."
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["psychoscore", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left: cli.main()
        return subprocess.CompletedProcess(arguments, left.value.code, *capsys.readouterr())
    return run


class Server:
    "A psychoscore server in a process of its own."
    def __init__(self, folder, *options, **environment):
        self.log_path, self.home = folder/"server.log", folder/"home" # where a file would be kept, if one were
        self.home.mkdir()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "psychoscore.cli", "serve", "--port", "0", *map(str, options)], stdout=log, stderr=log, cwd=self.home,
                                            env=os.environ | {"HOME": str(self.home), "TMPDIR": str(self.home)} | environment)
        self.url = self._wait_for(r"listening on (http://\S+?),", 120)
        for _ in range(100):
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200: return
            except httpx.TransportError: pass
            time.sleep(0.1)
        raise RuntimeError(self.log)

    @property
    def log(self): return self.log_path.read_text()

    def _wait_for(self, pattern, seconds):
        for _ in range(int(seconds*20)):
            if found := re.search(pattern, self.log): return found[found.lastindex or 0]
            if self.process.poll() is not None: break
            time.sleep(0.05)
        raise RuntimeError(f"no {pattern!r} in the log: {self.log}")

    def metric(self, name):
        "Sum of a metric over its labels."
        text = httpx.get(f"{self.url}/metrics").text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))

    def wait_until_idle(self, seconds=20):
        "Wait until nothing is decoded."
        for _ in range(int(seconds*20)):
            if self.metric("psychoscore_rows") == self.metric("psychoscore_waiting") == 0: return
            time.sleep(0.05)
        raise AssertionError(f"still {self.metric('psychoscore_rows')} rows in use")

    def stop(self, how=signal.SIGTERM):
        "End it and return the exit code."
        if self.process.poll() is None: self.process.send_signal(how)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    "A server that the tests share, with two pieces to find."
    folder, music = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("music")
    for number, step in enumerate((5, 7)): (music/f"{number}.mid").write_bytes(midi_bytes(make_notes(np.arange(40)/4, np.full(40, 0.25), 50 + np.arange(40)*step % 24, 80)))
    index_folder(music, folder/"pieces.parquet")
    server = Server(folder, "--workers", 1, "--index", folder/"pieces.parquet")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shots(tmp_path_factory):
    "Where screenshots go: PSYCHOSCORE_SHOTS, to be looked at, or a temporary folder."
    folder = Path(os.environ.get("PSYCHOSCORE_SHOTS") or tmp_path_factory.mktemp("shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def drag(page, *points, within=None):
    "Press at the first point (trauma, entropy) of a square, in the page or in a frame of it, move through the others, release."
    box = (within or page).locator(".square").bounding_box()
    at = [(box["x"] + trauma*box["width"], box["y"] + (1 - entropy)*box["height"]) for trauma, entropy in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]: page.mouse.move(x, y, steps=4)
    page.mouse.up()
