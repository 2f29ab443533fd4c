"Completion as somebody types it: the how-to's line in a shell at a terminal, then Tab in the next shell."
import os
import pty
import re
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent # Where pip puts the command
HOW_TO = Path(__file__).parent.parent/"nbs"/"howto"/"own_midi.ipynb"
LINES = {"bash": "psychoscore --install-completion", "fish": "psychoscore --install-completion",
         "zsh": "(echo 'autoload -Uz compinit; compinit'; psychoscore --show-completion) >> ~/.zshrc"}
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|\(B|[=>])")


class Terminal:
    "A shell that believes somebody sits there."
    def __init__(self, shell, home):
        kept = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
        environment = kept | dict(HOME=str(home), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}", TERM="xterm", LANG="C.UTF-8")
        self.raw = b""
        self.pid, self.file = pty.fork()
        if not self.pid: os.chdir(home); os.execvpe(shell, [shell, "-i"], environment)
        self.wait_for(r"[#$%>]\s*$") # the prompt

    def wait_for(self, pattern, seconds=60):
        "Read until the pattern is there; what follows is looked for after it."
        end = time.monotonic() + seconds
        while not re.search(pattern, text := ESCAPES.sub("", self.raw.decode(errors="replace"))):
            assert time.monotonic() < end, f"no {pattern!r} in {text!r}"
            if select.select([self.file], [], [], 0.1)[0]: self.raw += os.read(self.file, 65536)
        self.raw = b""

    def type(self, keys, pattern):
        "Press keys and wait for what they lead to."
        os.write(self.file, keys.encode()); self.wait_for(pattern)

    def close(self):
        os.close(self.file) # which hangs up
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("shell", LINES)
def test_one_line_and_the_next_shell_completes(shell, tmp_path):
    if not shutil.which(shell): pytest.skip(f"no {shell} here")
    (tmp_path/".zshrc").touch() # or zsh asks a newcomer what should be in it
    (tmp_path/".local/share/fish/generated_completions").mkdir(parents=True) # or fish reads all man pages first
    first = Terminal(shell, tmp_path)
    first.type(f"{LINES[shell]} && echo do''ne\r", "done")
    first.close()
    then = Terminal(shell, tmp_path)
    then.type("psychoscore comp\t", "compose ") # a command, at the first Tab
    then.type("--tra\t", "--trauma ") # its options
    then.type("\x15psychoscore prepare --split so\t", "--split song ") # their values
    then.close()


def test_the_how_to_says_these_lines():
    for line in LINES.values(): assert line in HOW_TO.read_text(encoding="utf-8")
