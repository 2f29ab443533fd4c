"A checkpoint that is not whole is refused by every command that is given one, in one line."
import json
import re
import shutil

import numpy as np
import pytest
from typer.main import get_command

from psychoscore import cli
from psychoscore.model import VOCABULARY_SHA256
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


# What to give each command that takes a model, with the checkpoint's folder, prepared data, music and a folder to write in place of their names.
COMMANDS = {
    "compose": "--model MODEL --trauma 0.5 -o OUT/x.mid", "serve": "--model MODEL --port 0", "calibrate": "--model MODEL", "report": "--model MODEL --data DATA --out OUT/report",
    "explain": "--model MODEL --trauma 0.5 --entropy 0.5", "probe": "--model MODEL --data DATA", "coherence": "--model a=MODEL --data DATA --out OUT/c.json", "index": "MUSIC --model MODEL --out OUT/i",
    "search": "--model MODEL --index MUSIC/pieces.parquet --like MUSIC/a.mid", "train": "--data DATA --out OUT/run --init MODEL"}


def test_every_command_that_takes_a_model_is_tried():
    takes = {name for name, command in get_command(cli.app).commands.items() if {"model", "models", "init"} & {p.name for p in command.params}}
    assert takes == set(COMMANDS)


@pytest.mark.parametrize("damage, says", [
    (lambda c: halve(c/"model.safetensors"), "model.safetensors is damaged or cut short"), (lambda c: halve(c/"psychoscore.json"), "psychoscore.json is damaged or cut short"),
    (lambda c: halve(c/"config.json"), "config.json is damaged or cut short"), (lambda c: drop(c/"psychoscore.json", "key_relative"), "psychoscore.json is damaged or of another version: it lacks key_relative"),
    (lambda c: drop(c/"psychoscore.json", "vocabulary_sha256"), f'add "vocabulary_sha256": "{VOCABULARY_SHA256}"')], ids=["weights", "about", "config", "key_relative", "vocabulary"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_checkpoint_is_one_line(command, copy, data, music, tmp_path, name, damage, says):
    damage(copy)
    places = dict(MODEL=copy, DATA=data, MUSIC=music, OUT=tmp_path)
    result = command(name, *(re.sub("|".join(places), lambda found: str(places[found[0]]), argument) for argument in COMMANDS[name].split()))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    if name == "search" and says.startswith("model.safetensors"): says = "was made with another model" # the index knows its model by the bytes of its weights
    assert says in result.stderr


@pytest.mark.parametrize("damaged, says", [("model/probe.json", "probe.json is damaged or cut short"), ("pieces.parquet", "is not an index that")])
def test_a_damaged_probe_or_index_is_one_line(command, copy, music, tmp_path, damaged, says):
    shutil.copy(music/"pieces.parquet", tmp_path)
    halve(tmp_path/damaged)
    for arguments in (["index", music, "--out", tmp_path/"pieces.parquet", "--model", copy], ["search", "--index", tmp_path/"pieces.parquet", "--trauma", 0.5, "--model", copy]):
        if arguments[0] == "search" and "probe" in damaged: continue # by profile, from what the index holds
        result = command(*arguments)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and says in result.stderr, result.stderr


def test_damaged_data_is_one_line(command, data, tmp_path):
    for name in ("meta.json", "pieces.parquet", "tokens.bin"):
        halve(shutil.copytree(data, tmp_path/name)/name)
        result = command("train", "--data", tmp_path/name, "--out", tmp_path/"out")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and str(tmp_path/name) in result.stderr, result.stderr


def test_turns_asks_for_weights(command, data, tmp_path):
    for config in ("turns", tmp_path/"own.json"):
        (tmp_path/"own.json").write_text('{"init": "", "max_steps": 3}')
        result = command("train", "--data", data, "--config", config, "--out", tmp_path/"out")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1) and "give init (--init), packaged or a checkpoint folder" in result.stderr
