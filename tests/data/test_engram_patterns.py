# SPDX-License-Identifier: Apache-2.0
"""The pattern files that ship: their number and shape, and that what they teach is right."""

import ast
import datetime
import html
import pathlib
import shlex

import pytest
import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "data" / "engram"
FAMILIES = {path.stem: yaml.safe_load(path.read_text())["examples"] for path in sorted(FOLDER.glob("*.yaml"))}
PATTERNS = [pattern for family in FAMILIES.values() for pattern in family]


def of(family, category):
    return [(pattern["input"], pattern["output"]) for pattern in FAMILIES[family] if pattern["category"] == category]


def test_there_are_enough_of_them():
    assert set(FAMILIES) == {"code_idioms", "error_fixes", "facts", "formats"}
    assert len(PATTERNS) >= 131 and len({pattern["category"] for pattern in PATTERNS}) >= 40
    assert len({pattern["input"] for pattern in PATTERNS}) == len(PATTERNS)
    readme = (FOLDER.parent / "README.md").read_text()
    assert f"{len(PATTERNS)} in {len({pattern['category'] for pattern in PATTERNS})} categories" in readme


def test_each_family_has_its_shape():
    for pattern in FAMILIES["code_idioms"]:
        assert not pattern["input"].startswith(("Q:", "Fix")) and "->" not in pattern["input"]
    for name, begins, ends in [("error_fixes", "Fix: ", ""), ("facts", "Q: ", "?\nA:"), ("formats", "", " ->")]:
        for pattern in FAMILIES[name]:
            assert pattern["input"].startswith(begins) and pattern["input"].endswith(ends), pattern
            assert pattern["output"][0] in " \n" and pattern["output"].strip(), pattern


def completed(code):
    """The code as a whole program: an open block gets a body, a clause its beginning."""
    if code.startswith("except"):
        code = "try:\n    pass\n" + code
    if code.startswith("elif"):
        code = "if a:\n    pass\n" + code
    if code.rstrip().endswith(":"):
        code += "\n    pass"
    if code.startswith("results = await"):
        code = "async def f():\n    " + code
    return code


def parses(code):
    try:
        ast.parse(completed(code))
    except SyntaxError:
        return False
    return True


def test_idioms_and_fixed_lines_are_python():
    lines = [p["input"] + p["output"] for p in FAMILIES["code_idioms"]] + [p["output"][1:] for p in FAMILIES["error_fixes"]]
    assert [line for line in lines if not parses(line)] == []


def test_lines_that_cannot_be_parsed_are_the_wrong_ones():
    broken = {p["category"] for p in FAMILIES["error_fixes"] if not parses(p["input"].removeprefix("Fix: "))}
    assert broken >= {"wrong_operator", "other_language"}


def roman(number):
    text = ""
    for value, letters in [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]:
        while number >= value:
            text, number = text + letters, number - value
    return text


def test_notations_are_what_python_makes_of_them():
    value = lambda prompt: prompt.removesuffix(" ->").split(": ", 1)[1]
    assert all(output == " " + roman(int(value(prompt))) for prompt, output in of("formats", "roman"))
    for prompt, output in of("formats", "number_base"):
        assert output == " " + format(int(value(prompt)), {"B": "b", "H": "x", "O": "o"}[prompt[0]])
    for prompt, output in of("formats", "weekday"):
        assert output == " " + datetime.date.fromisoformat(value(prompt)).strftime("%A")
    for prompt, output in of("formats", "scientific"):
        assert float(output) == float(value(prompt)) and "e" in output
    for prompt, output in of("formats", "percent"):
        assert float(output.rstrip("%")) == pytest.approx(100 * float(value(prompt)))
    for prompt, output in of("formats", "escaping"):
        assert output == " " + (html.escape if prompt.startswith("HTML") else shlex.quote)(value(prompt))
    for prompt, output in of("formats", "duration"):
        units = {"h": 3600, "min": 60, "s": 1}
        words = output.split()
        assert sum(int(n) * units[u] for n, u in zip(words[::2], words[1::2])) == int(value(prompt).split()[0])


def test_numbers_among_the_facts_are_right():
    answers = {p["input"].removeprefix("Q: ").removesuffix("?\nA:"): p["output"].strip() for p in FAMILIES["facts"]}
    assert answers["What is 2 to the power of 16"] == str(2**16)
    assert answers["What is the golden ratio to 4 decimals"] == f"{(1 + 5 ** 0.5) / 2:.4f}"
    assert answers["How many hours are in one week"] == str(7 * 24)
    assert answers["What is the largest signed 16-bit integer"] == str(2**15 - 1)
