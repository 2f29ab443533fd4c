"The command from a shell: fast help, one-line errors, files that are really there."
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from psychoscore.midi import read_midi
from psychoscore.notes import end_s
from psychoscore.sound import chroma_match


COMMAND = Path(sys.executable).with_name("psychoscore") # the script that pip installs


def psychoscore(*arguments):
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)


def test_help_is_quick():
    "It imports nothing that takes its time; seconds would depend on the machine."
    result = subprocess.run([sys.executable, "-X", "importtime", "-m", "psychoscore.cli", "--help"], capture_output=True, text=True)
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in result.stderr.splitlines() if "|" in line}
    assert result.returncode == 0 and "compose" in result.stdout and "typer" in imported
    assert not imported & {"torch", "transformers", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib", "music21", "symusic", "fastapi", "faiss"}


def test_the_commands_defaults_are_the_librarys():
    import inspect
    from psychoscore import cli, compose
    options = inspect.signature(cli.compose).parameters
    for name in ("candidates", "temperature"): assert options[name].default is getattr(compose.Request, name) is None, name
    assert f"; {compose.Request.keep:g} by default" in options["keep"].annotation.__metadata__[0].help


def test_alone_it_says_what_it_can_do():
    result = psychoscore()
    assert (result.returncode, result.stderr) == (0, "") and result.stdout == psychoscore("--help").stdout


def test_importing_the_package_is_silent():
    result = subprocess.run([sys.executable, "-W", "error", "-c", "import psychoscore"], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_compose_writes_every_format(tmp_path):
    files = [tmp_path/f"piece{suffix}" for suffix in (".mid", ".wav", ".mp3", ".musicxml", ".png")]
    result = psychoscore("compose", "--trauma", 0.8, "--entropy", 0.2, "--seconds", 6, "--seed", 1, *(x for f in files for x in ("-o", f)))
    assert result.returncode == 0, result.stderr
    assert [line for line in result.stdout.splitlines() if line.startswith(str(tmp_path))] == [str(f) for f in files]
    assert "trauma 0.80, entropy 0.20" in result.stdout and result.stderr == ""
    assert abs(end_s(read_midi(files[0]).notes) - 6) <= 1/32
    for sound in files[1:3]:
        audio, rate = soundfile.read(sound)
        assert chroma_match(read_midi(files[0]).notes, audio, rate) > 0.4 # six seconds of few notes, of which some ring on
    assert b"score-partwise" in files[3].read_bytes() and files[4].read_bytes()[1:4] == b"PNG"


def test_temperature(tmp_path):
    "The profile's temperature unless another is asked for; options that are gone are unknown."
    def composed(name, *options): return psychoscore("compose", "--seconds", 2, "--seed", 1, "-o", tmp_path/name, *options)
    for options, temperature in ((), "0.49"), (("--temperature", 0.9), "0.90"):
        result = composed("a.mid", "--trauma", 0.7, "--entropy", 0, *options)
        assert f"temperature {temperature} to {temperature}" in result.stdout, result.stdout + result.stderr
    for name, value in ("--schedule", "constant"), ("--guidance", 2):
        result = composed("a.mid", name, value)
        assert result.returncode == 2 and name in result.stderr


def test_same_seed_same_bytes_in_two_processes(tmp_path):
    for name in ("a", "b"): psychoscore("compose", "--trauma", 0.3, "--seconds", 4, "--seed", 9, "-o", tmp_path/f"{name}.mid")
    assert (tmp_path/"a.mid").read_bytes() == (tmp_path/"b.mid").read_bytes()


@pytest.mark.parametrize(("arguments", "says"), [
    (["compose", "--trauma", "1.5", "-o", "x.mid"], "trauma must be in [0, 1], got 1.5"),
    (["compose", "--trauma", "nan", "-o", "x.mid"], "trauma must be in [0, 1], got nan"),
    (["compose", "--entropy", "high", "-o", "x.mid"], "valid"),
    (["compose", "--seconds", "0", "-o", "x.mid"], "seconds must be a number from 1"),
    (["compose", "--seed", "-1", "-o", "x.mid"], "seed must be"),
    (["compose", "--keep", "2", "-o", "x.mid"], "--keep is about the notes of --vary"),
    (["compose", "-o", "x.ogg"], ".mid, .wav, .mp3, .musicxml, .png"),
    (["compose", "--model", "nowhere", "-o", "x.mid"], "missing"),
    (["compose"], "--out"),
    (["prepare", "--emopia", "nowhere", "--out", "x"], "nowhere"),
    (["train", "--data", "nowhere", "--out", "x"], "psychoscore prepare"),
    (["emopia", "--emopia", "nowhere"], "nowhere"),
    (["emopia", "--emopia", "."], "no folder `midis`"),
    (["compose", "--at", "5", "-o", "x.mid"], "--trauma or --entropy after it"),
    (["synthesize", "--num-pairs", "0", "--out", "x"], "num-pairs"),
    (["synthesize", "--jobs", "0", "--out", "x"], "-1 for one a core, got 0"),
    (["synthesize", "--out", __file__], "is a file"),
    (["prepare", "--corpus", "nowhere", "--out", "x"], "'nowhere' does not exist"),
    (["pipeline", "--include-emopia", "--corpus", "nowhere"], "'nowhere' does not exist"),
    (["pipeline", "--include-emopia", "--config", "huge"], "no configuration huge"),
    (["calibrate", "--figure", f"{__file__}/dial.png"], "test_cli.py"),
    (["sing"], "psychoscore --help says more"),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, says, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and says in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_synthesize_counts_what_it_made(command, tmp_path):
    result = command("synthesize", "--num-pairs", 24, "--jobs", 1, "--out", tmp_path/"pairs", "--stats")
    assert result.returncode == 0, result.stderr
    assert "24 pairs" in result.stdout and "tonic: 0 2, 1 2" in result.stdout


def test_unwritable_output_is_one_line(tmp_path):
    (tmp_path/"file").write_text("")
    result = psychoscore("compose", "--seconds", 1, "-o", tmp_path/"file"/"x.mid")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
