"A pipeline that only adds: nothing foreign is touched, nothing is lost when it is killed, nothing is done without a reason."
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from psychoscore import emopia as reads_emopia, pipeline
from psychoscore.emopia import published_split
from psychoscore.midi import read_midi
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.pipeline import PHASES, RECIPES, Phase, PipelineConfig, base_key, make_phases, phase_train, run_pipeline

needs_emopia = pytest.mark.skipif("PSYCHOSCORE_DATA" not in os.environ, reason="PSYCHOSCORE_DATA is not set: no EMOPIA files here")


def write_n(config, out, given): (out/"n").write_text(str(config.seed)); return f"wrote {config.seed}"


def write_twice(config, out, given):
    (out/"deep").mkdir(exist_ok=True)
    (out/"deep"/"first").write_text(f"{(given['one']/'n').read_text()} once")
    (out/"second").write_text(f"{(given['one']/'n').read_text()} again")
    return "wrote both"


STUBS = {
    "one": Phase(write_n, ("n",), options=lambda config: dict(seed=config.seed)),
    "two": Phase(write_twice, ("deep/*", "second"), ("one",), leaves=("half",)),
    "three": Phase(write_n, ("n",), ("two",), lambda config: dict(pairs=config.num_synthetic))}


def quiet(seed, workdir, **options): return run_pipeline(PipelineConfig(seed=seed), workdir, lambda line: None, STUBS, **options)


def tree(folder):
    "All that is in a folder, with what it holds and when that was changed."
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[os.fsencode(path.relative_to(folder))] = (status.st_mode, status.st_ino, status.st_mtime_ns, os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None)
    return found


FOREIGN = { # How to put it there, at a path
    "file": lambda path: path.write_text("years of work"),
    "empty file": lambda path: path.touch(),
    "empty folder": lambda path: path.mkdir(),
    "folder": lambda path: (path.mkdir(), (path/"thesis.tex").write_text("years of work")),
    "link to a file": lambda path: path.symlink_to(__file__),
    "link to a folder": lambda path: path.symlink_to(Path(__file__).parent),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "pipe": lambda path: os.mkfifo(path)}
PLACES = ("thesis", ".hidden", "one/thesis", "two/deep/thesis", "two/probe.json", "three.partial", "four", b"caf\xe9".decode("utf-8", "surrogateescape"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    "A workdir in which all is done, some of it twice."
    folder = tmp_path_factory.mktemp("finished")/"work"
    for seed in (0, 1): quiet(seed, folder)
    return folder


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_foreign_is_refused_by_name_and_survives(finished, tmp_path, kind, place):
    folder = Path(shutil.copytree(finished, tmp_path/"work"))
    FOREIGN[kind](folder/place)
    before = tree(tmp_path)
    for seed in (1, 2): # nothing to do, and everything
        for dry_run in (False, True):
            with pytest.raises(FileExistsError, match="what the run did not make") as said: quiet(seed, folder, dry_run=dry_run)
            assert place in str(said.value) and "another --workdir" in str(said.value)
    assert tree(tmp_path) == before


def test_a_stray_file_changes_nothing(finished, tmp_path):
    "Those of operating systems, which alone are not refused."
    folder = Path(shutil.copytree(finished, tmp_path/"work"))
    for place in (".DS_Store", "one/.DS_Store", "two/deep/Thumbs.db"): (folder/place).write_text(place)
    assert not quiet(1, folder).why.any()
    quiet(2, folder)
    kept = [path for path in folder.rglob("*") if path.name in (".DS_Store", "Thumbs.db")]
    assert len(kept) == 3 and all(str(path).endswith(path.read_text()) or "superseded" in str(path) for path in kept)


@pytest.mark.parametrize("place", ["one", "two"])
def test_a_phase_folder_that_somebody_else_made(tmp_path, place):
    quiet(0, tmp_path/"work")
    shutil.rmtree(tmp_path/"work"/"one"); (tmp_path/"elsewhere").mkdir(); (tmp_path/"elsewhere"/"n").write_text("0")
    (tmp_path/"work"/"one").symlink_to(tmp_path/"elsewhere")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="did not make: one"): quiet(1, tmp_path/"work")
    assert tree(tmp_path) == before


def test_what_is_superseded_is_listed_and_whole(tmp_path):
    quiet(0, tmp_path/"work")
    before = {name: content for name, (_, _, _, content) in tree(tmp_path/"work").items() if content is not None and name != b"pipeline.json"}
    said = []
    run_pipeline(PipelineConfig(seed=1), tmp_path/"work", said.append, STUBS)
    moved = json.loads((tmp_path/"work"/"pipeline.json").read_text())["superseded"]
    assert [m["why"] for m in moved] == ["option seed was 0, is 1", "output of one has changed", "output of two has changed"]
    assert all(any(m["folder"] in line and m["why"] in line for line in said) for m in moved)
    for name, content in before.items():
        phase, _, inside = os.fsdecode(name).partition("/")
        folder = next(m["folder"] for m in moved if m["folder"].endswith(f"-{phase}"))
        assert (tmp_path/"work"/folder/inside).read_bytes() == content


# A process is ended, as by SIGKILL, at the n-th thing that it does to files, for every n there is.
EVENTS = {"open", "os.rename", "os.mkdir", "os.listdir", "os.scandir", "os.symlink", "os.remove"}


def run_until(n, seed, workdir):
    "Fork a run that ends at its n-th event; return whether it came to its end."
    child = os.fork()
    if not child:
        left = [n]
        def count(event, given):
            if event not in EVENTS or not any(str(workdir) in os.fsdecode(g) for g in given if isinstance(g, (str, bytes, os.PathLike))): return
            left[0] -= 1
            if left[0] < 0: os._exit(9)
        sys.addaudithook(count)
        try: quiet(seed, workdir)
        except BaseException as error: print(repr(error), file=sys.stderr); os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), "it failed by itself"
    return code == 0


def contents(folder): return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "pipeline.json"}


def test_a_kill_at_every_moment_loses_nothing(tmp_path):
    quiet(0, tmp_path/"alone"); first = contents(tmp_path/"alone")
    quiet(1, tmp_path/"alone"); then = {path: data for path, data in contents(tmp_path/"alone").items() if path.parts[0] != "superseded"}
    quiet(0, tmp_path/"before")
    for start in (None, tmp_path/"before"): # a new folder, and one whose results are superseded
        for n in range(1000):
            work = tmp_path/f"{start is None}-{n}"
            if start: shutil.copytree(start, work)
            ended = run_until(n, 1, work)
            if start and not ended: # what was there is there still, in its place or aside
                held = [data for data in contents(work).values()]
                assert all(data in held for data in first.values()), n
            done = quiet(1, work)
            assert done.result.tolist() == ["wrote 1", "wrote both", "wrote 1"]
            found = contents(work)
            assert {path: data for path, data in found.items() if path.parts[0] != "superseded"} == then, n
            aside = {path: data for path, data in found.items() if path.parts[0] == "superseded"}
            listed = {m["folder"] for m in json.loads((work/"pipeline.json").read_text())["superseded"]}
            assert listed == {f"superseded/{path.parts[1]}" for path in aside}
            assert sorted(aside.values()) == (sorted(first.values()) if start else []), n
            assert not quiet(1, work).why.any()
            shutil.rmtree(work)
            if ended: break
        assert n > 20


def test_killed_many_times_in_a_row(tmp_path):
    "Each attempt lives a little longer than the one before."
    attempts = next(n for n in range(1000) if run_until(n, 3, tmp_path/"work"))
    quiet(3, tmp_path/"alone")
    assert attempts > 5 and contents(tmp_path/"work") == contents(tmp_path/"alone")


def test_an_interrupted_phase_of_other_options_moves_aside(tmp_path):
    def fail(config, out, given): (out/"n").write_text(f"half of {config.seed}"); raise OSError("disk full")
    stubs = {"one": STUBS["one"]._replace(run=fail)}
    for seed in (0, 0, 1):
        with pytest.raises(OSError, match="disk full"): run_pipeline(PipelineConfig(seed=seed), tmp_path/"work", lambda line: None, stubs)
    moved = json.loads((tmp_path/"work"/"pipeline.json").read_text())["superseded"]
    assert len(moved) == 1 and (tmp_path/"work"/moved[0]["folder"]/"n").read_text() == "half of 0"
    with pytest.raises(FileExistsError, match=r"did not make: one.partial/thesis\."):
        (tmp_path/"work"/"one.partial"/"thesis").touch(); run_pipeline(PipelineConfig(), tmp_path/"work", lambda line: None, stubs)


def test_two_runs_do_not_meet(tmp_path):
    quiet(0, tmp_path)
    code = f"import time\nfrom pathlib import Path\nfrom psychoscore.pipeline import alone_in\nwith alone_in(Path({str(tmp_path)!r})): print('in', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(BlockingIOError, match="another run is at work in"): quiet(0, tmp_path)
        other.kill()
    assert not quiet(0, tmp_path).why.any()


@pytest.fixture
def place(tmp_path, monkeypatch):
    "A folder to work in, with a few things that a command can be refused for."
    monkeypatch.chdir(tmp_path)
    (tmp_path/"mine").mkdir(); (tmp_path/"mine"/"thesis.tex").write_text("years of work")
    (tmp_path/"file").touch(); (tmp_path/"own.json").write_text('{"max_steps": 0}')
    (tmp_path/"midis").mkdir(); (tmp_path/"midis"/"Q1_abcdefghijk_0.mid").write_bytes(b"MThd")
    monkeypatch.setenv("PSYCHOSCORE_DATA", str(tmp_path))
    quiet(0, tmp_path/"full")
    (tmp_path/"old").mkdir(); (tmp_path/"old"/"pipeline.json").write_text('{"train": {"done": "ab"}}')
    return tmp_path


@pytest.mark.parametrize("options, says", [
    ("", "give --include-emopia"), ("--include-emopia --workdir mine", "is not empty, it holds thesis.tex: give another --workdir"),
    ("--include-emopia --workdir mine --quick --dry-run", "it holds thesis.tex"), ("--include-emopia --workdir file", "file is not a folder"),
    ("--include-emopia --workdir file/under", "file"), ("--include-emopia --workdir old", "old/pipeline.json is not what a run of this version has written"),
    ("--include-emopia --workdir full --quick", "full holds a full run of the recipe plan, and this is a quick run of the recipe plan"),
    ("--recipe release --workdir full --corpus midis", "and this is a full run of the recipe release"),
    ("--recipe release", "no folder pop909 here or in PSYCHOSCORE_DATA: give --corpus"), ("--recipe latest", "plan"),
    ("--include-emopia --emopia nowhere --workdir new", "no folder or archive at nowhere"), ("--include-emopia --corpus nowhere", "nowhere"),
    ("--include-emopia --corpus mine --workdir new", "no MIDI"), ("--include-emopia --config huge", "no configuration huge"),
    ("--include-emopia --config own.json", "max_steps"), ("--include-emopia --config plans", "give init"),
    ("--include-emopia --corpus midis --corpus-licence CC0 --corpus-licence MIT", "once for all, or once a corpus: 2 for 1"),
    ("--include-emopia --num-synthetic -1", "--num-synthetic"), ("--include-emopia --contrastive-weight -1", "--contrastive-weight")])
def test_a_refused_command_leaves_no_trace(command, place, options, says):
    before = tree(place)
    result = command("pipeline", *options.split())
    assert (result.returncode, result.stderr.count("\n"), result.stdout) == (2, 1, "") and says in result.stderr, result.stderr
    assert tree(place) == before


@pytest.fixture
def package(tmp_path, monkeypatch):
    "A copy of the package, whose code counts instead."
    copy = shutil.copytree(pipeline.PACKAGE, tmp_path/"psychoscore", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(pipeline, "PACKAGE", copy); monkeypatch.setattr(pipeline, "ASSETS", copy/"assets")
    return copy


def keys():
    "Of the release's phases, without the music that they read."
    config = replace(RECIPES["release"], num_synthetic=7, corpora=())
    return {name: base_key(phase._replace(inputs=(lambda config: {}) if name == "download_emopia" else phase.inputs), config) for name, phase in make_phases(config).items()}


FROM_TRAINING = {"train", "train_second", "package"}
READS_MIDI = set(make_phases(RECIPES["release"])) - {"synthesize"}
MAKES_PAIRS = ("rules.py", "part_writing.py", "performance.py", "synthetic.py") # A changed rule makes the pairs anew
@pytest.mark.parametrize("file, phases", [
    *((file, READS_MIDI | {"synthesize"} - {"download_emopia"}) for file in MAKES_PAIRS), ("smf.py", READS_MIDI), ("relabel.py", {"tokenise"}), ("train.py", {"train", "train_second", "report"}), *((file, {"train", "train_second", "report"}) for file in ("checkpoint.py", "train_config.py")), ("report.py", {"report"}),
    ("dial.py", {"calibrate", "report"}), ("search.py", {"package"}), ("serve.py", set()), ("routes.py", set()), ("cli.py", set()),
    ("assets/listener.npz", {"calibrate", "report"}), ("assets/judge.npz", {"calibrate", "report"}), ("assets/note_judge.safetensors", {"calibrate", "report"}), ("assets/reference.npz", {"calibrate", "report"}),
    ("assets/emopia_split.csv", {"merge_emopia_data", "tokenise"}), ("assets/model/model.safetensors", set())])
def test_what_a_changed_file_touches(package, file, phases):
    before = keys()
    path = package/file
    path.write_bytes(path.read_bytes() + (b"\n# a remark\n" if file.endswith(".py") else b""))
    assert keys() == before
    path.write_bytes(path.read_bytes() + b"\nCHANGED = 1\n")
    after = keys()
    if file in MAKES_PAIRS: phases = phases - {"download_emopia", "merge_emopia_data"}
    assert {name for name in after if after[name] != before[name]} == phases


def test_a_changed_line_reruns_its_phase_and_what_follows(tmp_path):
    "In processes of their own, with a copy of the package."
    shutil.copytree(pipeline.PACKAGE, tmp_path/"psychoscore", ignore=shutil.ignore_patterns("__pycache__", "model"))
    (tmp_path/"toy.py").write_text(
        "from psychoscore.pipeline import Phase, PipelineConfig, run_pipeline\n"
        "def one(config, out, given): from psychoscore.midi import Limits; (out/'n').write_text('1'); return 'one'\n"
        "def two(config, out, given): from psychoscore import smf; (out/'n').write_text(str(smf.CHANGED)); return 'two'\n"
        "def three(config, out, given): (out/'n').write_text((given['two']/'n').read_text()); return 'three'\n"
        "def four(config, out, given): from psychoscore.profile import NULL; (out/'n').write_text('4'); return 'four'\n"
        "phases = {f.__name__: Phase(f, ('n',), ('two',) if f is three else ()) for f in (one, two, three, four)}\n"
        "print(*run_pipeline(PipelineConfig(), 'work', lambda line: None, phases).query('why != \"\"').phase)\n")
    def ran(added):
        with (tmp_path/"psychoscore"/"smf.py").open("a") as file: file.write(added)
        done = subprocess.run([sys.executable, "toy.py"], cwd=tmp_path, capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1"))
        assert done.returncode == 0, done.stderr
        return done.stdout.split()
    assert ran("\nCHANGED = 1\n") == ["one", "two", "three", "four"]
    assert ran("# a remark\n") == []
    assert ran("CHANGED = 2\n") == ["one", "two", "three"] # midi imports smf
    assert len(list((tmp_path/"work"/"superseded").iterdir())) == 3


@pytest.fixture(scope="module")
def emopia(tmp_path_factory):
    "A folder laid out like EMOPIA: a few of its clip ids from each split, with random music."
    folder, rng, split = tmp_path_factory.mktemp("emopia"), np.random.default_rng(0), published_split()
    ids = [clip_id for name, n in (("train", 24), ("validation", 8), ("test", 4)) for clip_id in split.index[split == name][::len(split[split == name])//n][:n]]
    (folder/"midis").mkdir()
    for clip_id in ids:
        notes = make_notes(np.arange(120)*0.2, np.full(120, 0.3), rng.integers(40, 90, 120), rng.integers(30, 100, 120))
        (folder/"midis"/f"{clip_id}.mid").write_bytes(midi_bytes(notes))
    (folder/"label.csv").write_text("ID,4Q,annotator\n" + "".join(f"{i},{i[1]},A\n" for i in ids))
    return folder


def run(config, workdir):
    said = []
    done = run_pipeline(config, workdir, said.append)
    return done.set_index("phase"), [line.split()[0] for line in said if "unchanged" not in line and "superseded" not in line]


def make_corpora(folder):
    "Two, of ten songs in a folder each."
    rng = np.random.default_rng(1) # other music than EMOPIA's
    for place in (place for name in ("first", "second") for place in (folder/name/f"{i}" for i in range(10))):
        notes = make_notes(np.arange(80)*0.25, np.full(80, 0.25), rng.integers(40, 90, 80), rng.integers(30, 100, 80))
        place.mkdir(parents=True); (place/"a.mid").write_bytes(midi_bytes(notes))
    return folder/"first", folder/"second"


def test_the_release_reads_what_prepare_reads(emopia, command, tmp_path, monkeypatch):
    "The same folder by either command; and again when only the notes of a clip have changed."
    clips, corpora = Path(shutil.copytree(emopia, tmp_path/"emopia")), make_corpora(tmp_path)
    config = replace(RECIPES["release"], emopia=clips, num_clips=36, num_synthetic=20, corpora=corpora, licences=("CC0", "MIT"))
    phases, work = dict(list(make_phases(config).items())[:4]), tmp_path/"work"
    def done(): return run_pipeline(config, work, lambda line: None, phases).set_index("phase").why
    assert list(done().index)[-1] == "tokenise"
    monkeypatch.setattr(reads_emopia, "load_emopia", partial(reads_emopia.load_emopia, num_clips=36))
    options = ["--song-by", "folder", "--relabel", "--copies", config.copies, "--corpus-licence", "CC0", "--corpus-licence", "MIT"]
    result = command("prepare", "--emopia", clips, "--synthetic", work/"synthesize", *(x for corpus in corpora for x in ("--corpus", corpus)), *options, "--out", tmp_path/"data")
    assert result.returncode == 0, result.stderr
    for name in ("meta.json", "tokens.bin", "pieces.parquet"): assert (work/"tokenise"/name).read_bytes() == (tmp_path/"data"/name).read_bytes(), name
    pieces = pd.read_parquet(work/"tokenise"/"pieces.parquet").query("source == 'corpus'")
    assert pieces.groupby("licence").song_id.nunique().to_dict() == {"CC0": 10, "MIT": 10}

    before = (work/"merge_emopia_data"/"clips.csv").read_bytes()
    path = sorted((clips/"midis").iterdir())[0]
    notes = read_midi(path).notes
    notes["velocity"] = notes["velocity"][::-1]
    path.write_bytes(midi_bytes(notes))
    assert done()["tokenise"] == "output of download_emopia has changed" and (work/"merge_emopia_data"/"clips.csv").read_bytes() == before


def test_everything_once_and_then_what_has_changed(emopia, tmp_path, monkeypatch):
    monkeypatch.setattr("psychoscore.pipeline.QUICK_PAIRS", 3000)
    own = dict(proportions={"emopia": 0.6, "synthetic": 0.2, "corpus": 0.2}, final_proportions={"emopia": 0.9, "synthetic": 0.1})
    brief = dict(max_steps=4, warmup_steps=1, mix=own, contrast=dict(weight=0.2)) # what is learned does not matter here
    (tmp_path/"brief.json").write_text(json.dumps(brief))
    config, work = PipelineConfig(emopia=emopia, num_clips=36, config=str(tmp_path/"brief.json"), quick=True), tmp_path/"work"
    done, ran = run(config, work)
    assert ran == list(PHASES) and done.seconds["train"] > 0
    trained = json.loads((work/"train"/"psychoscore.json").read_text())["config"]
    assert trained["contrast"]["weight"] == 0.2
    assert trained["mix"]["proportions"] == pytest.approx({"emopia": 0.75, "synthetic": 0.25}) and trained["mix"]["final_proportions"] == pytest.approx(own["final_proportions"])
    assert {"report.json", "report.md", "dial.png"} <= {p.name for p in (work/"report").iterdir()}
    record = json.loads((work/"pipeline.json").read_text())["phases"]
    assert {name: set(record[name]["done"]["made"]) for name in PHASES} == {name: set(pipeline.entries(work/name)) for name in PHASES} # all that is there is declared
    before = (work/"report"/"report.json").read_bytes()
    (tmp_path/"brief.json").rename(tmp_path/"renamed.json")
    renamed = replace(config, config=str(tmp_path/"renamed.json"))
    assert run(renamed, work)[1] == []
    assert (work/"report"/"report.json").read_bytes() == before
    (work/"synthesize"/"manifest.json").unlink()
    assert run(renamed, work)[1] == ["synthesize"] # the same bytes again, so nothing follows
    assert run_pipeline(replace(renamed, contrastive_weight=0), work, lambda line: None, dry_run=True).set_index("phase").why["train"].startswith("option contrast.rows was 16, is 0")


WATCHED = """
import json, sys
opened = {}
def watch(event, given):
    if event == "open" and isinstance(given[0], str) and "/psychoscore/assets/" in given[0]: opened.setdefault(phase[0], set()).add(given[0].split("/psychoscore/assets/")[1])
phase, real = ["before"], sys.modules
sys.addaudithook(watch)
import psychoscore.pipeline as pipeline
import psychoscore.sound # which reads the piano's table when it is imported, whether anything sounds or not
first = pipeline.run_phase
def run_phase(work, name, *given): phase[0] = name; return first(work, name, *given)
pipeline.run_phase = run_phase
from psychoscore.cli import main
try: main()
finally: print("opened", json.dumps({name: sorted(files) for name, files in opened.items() if name != "before"}))
"""


@needs_emopia
def test_the_release_at_small_size_from_the_shell(tmp_path):
    "Both legs and the report; a phase reads no packaged file that it has not declared."
    corpora = [x for corpus in make_corpora(tmp_path) for x in ("--corpus", corpus)]
    command = [sys.executable, "-c", WATCHED, "pipeline", "--recipe", "release", "--quick", "--num-synthetic", 3000, *corpora, "--workdir", tmp_path/"work"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    phases = make_phases(RECIPES["release"])
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:len(phases)]] == list(phases) and "9 of 9 phases were run" in lines[len(phases)]
    about = json.loads((tmp_path/"work"/"package"/"psychoscore.json").read_text())
    assert about["sampling"] == asdict(RECIPES["release"].sampling) and about["origin"]["config"]["mix"]["turns"] == 0 and about["config"]["mix"]["turns"] == 0.5
    assert about["config"]["learn_plans"] and about["config"]["model"]["plans"]
    assert json.loads((tmp_path/"work"/"report"/"report.json").read_text())["protocol"]["takes"] == 1
    assert json.loads((tmp_path/"work"/"tokenise"/"meta.json").read_text())["relabelling"]["part"]
    declared = {name: {part.removeprefix("input assets/") for part in json.loads((tmp_path/"work"/"pipeline.json").read_text())["phases"][name]["done"]["key"] if part.startswith("input assets/")} for name in phases}
    for name, opened in json.loads(lines[-1].removeprefix("opened ")).items(): assert set(opened) <= declared[name], (name, opened)
    assert set(pipeline.entries(tmp_path/"work"/"package")) == set(phases["package"].makes) >= {"planner.npz", "probe.json"}


@pytest.mark.parametrize("stopped_at", [5, None])
def test_training_that_was_told_to_stop_is_not_done(data, tmp_path, monkeypatch, stopped_at):
    log = pd.DataFrame(dict(step=[stopped_at] if stopped_at else [], val_nats_per_note=[9.0] if stopped_at else []))
    monkeypatch.setattr("psychoscore.train.fit", lambda *arguments, **options: log)
    monkeypatch.setattr("psychoscore.train.is_over", lambda out: False)
    with pytest.raises(InterruptedError, match="the same command goes on"): phase_train(PipelineConfig(config="tiny"), tmp_path, dict(tokenise=data))
