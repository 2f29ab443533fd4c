"The listening test in a real Chromium, from the disk: by keyboard, on a phone, with answers that are read again."
import json
import re
import shutil

import pytest

from psychoscore import listening_test
from psychoscore.listening_test import Clip, Trial, analyse, read_answers, simulate_answers, write_test
from psychoscore.synthetic import compose_pair

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


def clip(number, source):
    return Clip(source, 0.1*number, 0.9 - 0.1*number, f"{source} {number}", compose_pair(0, number).notes[:40])


@pytest.fixture
def given(tmp_path, monkeypatch):
    "A test of three pairs, of whose pieces half a second must be heard."
    monkeypatch.setattr(listening_test, "LEAST_HEARD_S", 0.5)
    page = write_test([Trial("real", clip(1, "real"), clip(2, "composed")), Trial("dial", clip(3, "composed"), clip(4, "composed")),
                       Trial("real", clip(5, "composed"), clip(6, "real"))], tmp_path/"test")
    return page, tmp_path/"test/key.json"


@pytest.fixture
def page(given):
    "The page from the disk, as wide as a phone; what it asks for and complains of is noted."
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"])
        page = browser.new_context(viewport=dict(width=375, height=700), accept_downloads=True).new_page()
        page.wrong = []
        page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.wrong.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "blob:")) else page.wrong.append(f"asks {r.url}"))
        page.goto(given[0].as_uri())
        yield page
        browser.close()


def hear(page):
    "Play both pieces for as long as the page wants."
    for side in "ab":
        page.evaluate(f"document.getElementById('audio-{side}').play()")
        page.wait_for_function(f"heard.{side} >= LEAST_HEARD")
    assert page.evaluate("document.getElementById('audio-a').paused") # one at a time


def rate(page, said):
    "Set all sliders, by keyboard."
    for side, name in ((side, name) for side in "ab" for name in ("trauma", "entropy", "natural")):
        slider = page.locator(f"input[name={side}-{name}]")
        slider.press("Home")
        for _ in range(round(said[side][name]*10)): slider.press("PageUp") # a tenth of the way each
    page.locator(f"input[name=preferred][value={said['preferred']}]").check()


def test_answers_are_what_was_set(page, given):
    key = json.loads(given[1].read_text())
    said = {answer["trial"]: answer for answer in simulate_answers(key, 1)[0]["answers"]}
    assert page.locator("#progress").text_content() == "3 pairs, about 4 minutes"
    page.keyboard.press("Tab"); page.keyboard.press("Enter")
    for number in range(3):
        assert page.locator("#progress").text_content() == f"Pair {number + 1} of 3"
        assert page.locator("#next").is_disabled() and "hear 0.5 s of the first piece" in page.locator("#missing").text_content()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        hear(page)
        assert re.search("set 6 more sliders", page.locator("#missing").text_content())
        rate(page, said[page.evaluate("TEST.trials[state.order[state.answers.length]].id")])
        page.locator("#next").click()
        if number == 0: page.reload() # what was answered is still there
    with page.expect_download() as download: page.locator("#save").click()
    saved = given[1].with_name(download.value.suggested_filename)
    download.value.save_as(saved)
    table = read_answers([saved], given[1])
    assert len(table) == 6 and table.listener.nunique() == 1
    for row in table.itertuples():
        wanted = said[row.trial]
        for name in ("trauma", "entropy", "natural"):
            assert getattr(row, f"heard_{name}") == pytest.approx(round(wanted[row.side][name]*10)/10, abs=0.011)
        assert row.chosen == (wanted["preferred"] == row.side)
        assert row.source == key["trials"][row.trial][row.side]["source"]
    assert analyse(table, 20).listeners.eq(1).all()
    assert not page.wrong


def test_a_slider_in_the_middle_is_set_by_space(page):
    page.locator("#begin").click()
    hear(page)
    while page.locator("input.unset").count(): page.locator("input.unset").first.press(" ")
    page.locator("input[name=preferred][value=neither]").check()
    assert page.locator("#next").is_enabled()


def test_files_that_are_no_answers_are_refused(given, tmp_path):
    wrong = tmp_path/"wrong.json"
    for text, said in (("{", "no file of answers"), ("[]", "no file of answers"), ('{"test": "y", "listener": "a", "answers": []}', "another test")):
        wrong.write_text(text)
        with pytest.raises(ValueError, match=said): read_answers([wrong], given[1])
    answers = simulate_answers(json.loads(given[1].read_text()), 1)[0]
    wrong.write_text(json.dumps(answers))
    with pytest.raises(ValueError, match="twice"): read_answers([wrong, wrong], given[1])


def test_answers_are_read_by_the_command(given, tmp_path):
    from typer.testing import CliRunner

    from psychoscore.cli import app
    files = []
    for number, said in enumerate(simulate_answers(json.loads(given[1].read_text()), 3)):
        files.append(tmp_path/f"{number}.json")
        files[-1].write_text(json.dumps(said))
    told = CliRunner().invoke(app, ["listening-test", "--out", str(given[1].parent), *(word for path in files for word in ("--read", str(path)))])
    assert told.exit_code == 0 and told.stdout.split()[:5] == ["value", "low", "high", "listeners", "ratings"], told.output
