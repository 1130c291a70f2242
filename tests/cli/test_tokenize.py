# SPDX-License-Identifier: Apache-2.0
"""braid data tokenize and detokenize: JSON lines in and out, and what they refuse."""

import json
import subprocess

import pytest
from cli_run import BRAID, ENVIRONMENT, ROOT, braid, one_line

DATA = ROOT / "tests/text/data"
CASES = json.loads((DATA / "cases.json").read_text())


def from_stdin(action, fixture, lines, *words):
    command = [BRAID, "data", action, "--tokenizer", DATA / f"{fixture}.json", "--jsonl", "-", *words]
    return subprocess.run(command, input=lines, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


def jsonl(name, values):
    return "".join(json.dumps({name: value}) + "\n" for value in values)


def values(name, output):
    return [json.loads(line)[name] for line in output.split("\n")[:-1]]


@pytest.mark.parametrize("fixture", ["smol", "l3", "tiny"])
def test_texts_become_ids_and_ids_become_texts(tmp_path, fixture):
    (tmp_path / "texts.jsonl").write_text(jsonl("text", CASES["texts"]))
    done = braid("data", "tokenize", "--tokenizer", DATA / f"{fixture}.json", "--jsonl", tmp_path / "texts.jsonl", "--threads", 2)
    assert done.returncode == 0 and done.stderr == ""
    assert values("ids", done.stdout) == CASES[fixture]["ids"]
    back = from_stdin("detokenize", fixture, done.stdout)
    assert back.returncode == 0 and values("text", back.stdout) == CASES[fixture]["decoded"]


def test_special_tokens_are_added_and_kept_by_option():
    with_special = values("ids", from_stdin("tokenize", "l3", jsonl("text", ["a"])).stdout)
    without = values("ids", from_stdin("tokenize", "l3", jsonl("text", ["a"]), "--no-special-tokens").stdout)
    assert with_special == [[6000, *without[0]]]
    kept = from_stdin("detokenize", "l3", jsonl("ids", with_special), "--keep-special-tokens")
    assert values("text", kept.stdout) == ["<|begin_of_text|>a"]


@pytest.mark.parametrize("action, line, message", [
    ("tokenize", "{", "is not valid JSON"),
    ("tokenize", "", "is not valid JSON"),
    ("tokenize", "[]", "expected an object"),
    ("tokenize", "{}", "text is missing"),
    ("tokenize", '{"text": 3}', "text: expected a text"),
    ("tokenize", '{"text": "\\ud800"}', "is not valid JSON"),
    ("detokenize", '{"text": "a"}', "ids is missing"),
    ("detokenize", '{"ids": 3}', "ids: expected a list"),
    ("detokenize", '{"ids": [3, -1]}', "ids[1]: expected a whole number from 0 to 6004"),
    ("detokenize", '{"ids": [6005]}', "ids[0]: expected a whole number"),
    ("detokenize", '{"ids": [1.5]}', "ids[0]: expected a whole number"),
])  # fmt: skip
def test_a_wrong_line_is_named_by_its_number_after_those_before_it(action, line, message):
    good = '{"text": "a", "ids": [65]}\n'
    done = from_stdin(action, "l3", good * 3 + line + "\n" + good)
    wrong = one_line(done, 2)
    assert "standard input:4: " in wrong and message in wrong
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize("words, message", [
    (["--jsonl", "-"], "expected --tokenizer FILE --jsonl FILE|-"),
    (["--tokenizer", "none.json", "--jsonl", "-"], "none.json: cannot be read"),
    (["--tokenizer", DATA / "cases.json", "--jsonl", "-"], "cases.json: model is missing"),
    (["--tokenizer", DATA / "l3.json", "--jsonl", "none.jsonl"], "none.jsonl: cannot be read"),
    (["--tokenizer", DATA / "l3.json", "--jsonl", DATA], "is a folder; expected a file of JSON lines"),
    (["--tokeniser", "x"], "nearest: --tokenizer"),
])  # fmt: skip
def test_wrong_use_is_one_line(words, message):
    for action in ("tokenize", "detokenize"):
        assert message in one_line(braid("data", action, *words), 2)


def test_an_unknown_action_names_the_nearest():
    assert "nearest: tokenize" in one_line(braid("data", "tokenise"), 2)
    assert "an action is missing" in one_line(braid("data"), 2)


@pytest.mark.parametrize("action", ["bytes", "tokens", "verify", "train-tokenizer", "tokenize", "detokenize"])
def test_every_action_has_a_help_of_its_own(action):
    done = braid("data", action, "--help")
    assert done.returncode == 0 and f"braid data {action}" in done.stdout
    assert "\nExamples:\n" in done.stdout and "\nExit codes: 0 " in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > 100] == []
