"A checkpoint that is not whole is refused by every command that is given one, in one line."
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from psychoscore import cli
from psychoscore.weights import vocabulary_sha256
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.search import PACKAGED, index_folder


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    "A folder of MIDI, and an index of it."
    folder = tmp_path_factory.mktemp("music")
    (folder/"a.mid").write_bytes(midi_bytes(make_notes(np.arange(40)/4, np.full(40, 0.25), 60, 80)))
    index_folder(folder, folder/"pieces.parquet")
    return folder


@pytest.fixture
def copy(tmp_path): return shutil.copytree(PACKAGED, tmp_path/"model")


def halve(path): path.write_bytes(path.read_bytes()[:path.stat().st_size//2])
def drop(path, name): path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != name}))


COMMANDS = { # MODEL is the checkpoint, DATA a prepared folder, MUSIC one of MIDI, OUT one to write
    "compose": "--model MODEL --trauma 0.5 -o OUT/x.mid",
    "serve": "--model MODEL --port 0",
    "calibrate": "--model MODEL",
    "report": "--model MODEL --data DATA --out OUT/report",
    "explain": "--model MODEL --trauma 0.5 --entropy 0.5",
    "listening-test": "--model MODEL --out OUT/people",
    "probe": "--model MODEL --data DATA",
    "coherence": "--model a=MODEL --data DATA --out OUT/c.json",
    "index": "MUSIC --model MODEL --out OUT/i",
    "search": "--model MODEL --index MUSIC/pieces.parquet --like MUSIC/a.mid",
    "train": "--data DATA --out OUT/run --init MODEL"}
N_TOKENS = json.loads((PACKAGED/"psychoscore.json").read_text())["vocabulary"]
DAMAGE = {
    "weights": (lambda c: halve(c/"model.safetensors"), "model.safetensors is damaged or cut short"),
    "about": (lambda c: halve(c/"psychoscore.json"), "psychoscore.json is damaged or cut short"),
    "config": (lambda c: halve(c/"config.json"), "config.json is damaged or cut short"),
    "key_relative": (lambda c: drop(c/"psychoscore.json", "key_relative"), "it lacks key_relative"),
    "vocabulary": (lambda c: drop(c/"psychoscore.json", "vocabulary_sha256"), f'add "vocabulary_sha256": "{vocabulary_sha256(N_TOKENS)}"')}


def test_every_command_that_takes_a_model_is_tried():
    options = {name: {p.name for p in command.params} for name, command in get_command(cli.app).commands.items()}
    takes = {name for name, known in options.items() if {"model", "models", "init"} & known}
    assert takes == set(COMMANDS)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_checkpoint_is_one_line(command, copy, data, music, tmp_path, name, damage):
    do, says = DAMAGE[damage]
    do(copy)
    places = dict(MODEL=copy, DATA=data, MUSIC=music, OUT=tmp_path)
    arguments = [re.sub("|".join(places), lambda found: str(places[found[0]]), part) for part in COMMANDS[name].split()]
    result = command(name, *arguments)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    if (name, damage) == ("search", "weights"): says = "was made with another model" # an index knows its model by the file's bytes
    assert says in result.stderr


def test_a_damaged_probe_is_one_line(command, copy, music, tmp_path):
    halve(copy/"probe.json")
    result = command("index", music, "--out", tmp_path/"pieces.parquet", "--model", copy)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "probe.json is damaged or cut short" in result.stderr


def test_a_damaged_index_is_one_line(command, music, tmp_path):
    halve(index := Path(shutil.copy(music/"pieces.parquet", tmp_path)))
    for arguments in (["index", music, "--out", index], ["search", "--index", index, "--trauma", 0.5], ["serve", "--index", index]):
        result = command(*arguments)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "is not an index that" in result.stderr


def test_damaged_data_is_one_line(command, data, tmp_path):
    for name in ("meta.json", "pieces.parquet", "tokens.bin"):
        halve(shutil.copytree(data, tmp_path/name)/name)
        result = command("train", "--data", tmp_path/name, "--out", tmp_path/"out")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and str(tmp_path/name) in result.stderr, result.stderr


def test_plans_asks_for_weights(command, data, tmp_path):
    for config in ("plans", tmp_path/"own.json"):
        (tmp_path/"own.json").write_text('{"init": "", "max_steps": 3}')
        result = command("train", "--data", data, "--config", config, "--out", tmp_path/"out")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "give init (--init), packaged or a checkpoint folder" in result.stderr
