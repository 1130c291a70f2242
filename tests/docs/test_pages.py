# SPDX-License-Identifier: Apache-2.0
"""The pages do not rot: links lead somewhere, commands and options exist, keys exist, messages are those of the sources."""

import functools
import re
import shlex
import subprocess
import sys

import pytest
from pages import ENVIRONMENT, ROOT, braid, code_lines, pages

PAGES = pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)
SCRIPTS = ("launch/setup", "launch/demo", "launch/test", "launch/local", "launch/submit", "launch/bench",
           "launch/engram", "tools/braid-report")  # fmt: skip


def anchor(heading):
    """A heading as GitHub links to it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def broken_links(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists():
            yield target
        elif fragment and fragment not in map(anchor, re.findall(r"^#+ (.*)$", file.read_text(), re.M)):
            yield target


@every_page
def test_relative_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


@functools.cache
def braid_help(command):
    done = braid(*command, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def commands():
    return set(re.findall(r"^  ([a-z]+) {2,}\S", braid_help(()).split("Examples:")[0], re.M))


@functools.cache
def script_help(words):
    """--help of a script; None where it is not there."""
    if not (ROOT / words[0]).exists():
        return None
    start = [sys.executable] if "report" in words[0] else []
    done = subprocess.run([*start, ROOT / words[0], *words[1:], "--help"], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    return done.stdout if done.returncode == 0 else ""


def options_of(help_text):
    return set(re.findall(r"(?<![\w-])(--?[a-z][a-z0-9-]*)", help_text))


def words_of(line):
    """The words of one command, without its comment and what is piped."""
    try:
        words = shlex.split(line.replace("…", ""), comments=True)
    except ValueError:
        return []
    for i, word in enumerate(words):
        if word in ("|", "&&", ";", ">"):
            return words[:i]
    return words


def unknown_options(words, help_text):
    words = words[: words.index("--")] if "--" in words else words
    known = options_of(help_text) | {"-h", "--help"}
    return [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]


def wrong_braid_words(words):
    """What is wrong with the words after braid."""
    if not words or words[0] in ("COMMAND", "--help", "--version", "help"):
        return
    if words[0] not in commands():
        yield f"no command {words[0]}"
        return
    of_its_own = words[0] == "data" or words[:2] in (["bench", "gist"], ["bench", "decode"], ["bench", "serve"])
    actions = words[1:2] if of_its_own and words[1:2] != ["--help"] else []
    for option in unknown_options(words[1:], braid_help((words[0], *actions))):
        yield f"braid {words[0]}: no option {option}"
    for value in [w for flag, w in zip(words, words[1:]) if flag == "--set"]:
        if value.split("=")[0] not in keys():
            yield f"no key {value}"


def wrong_script_words(words):
    help_text = script_help((words[0],))
    if help_text is None:
        yield f"no file {words[0]}"
        return
    if words[0] == "tools/braid-report" and len(words) > 1 and words[1] in ("page", "compare", "export", "clean", "engram", "gist", "depth", "platforms", "watch"):
        help_text = script_help((words[0], words[1])) or ""
        if not help_text:
            yield f"braid-report has no {words[1]}"
    if words[0] == "launch/bench" and len(words) > 1 and not words[1].startswith("-"):
        help_text += script_help((words[0], words[1])) or ""
    if words[0] in ("launch/local", "launch/submit"):
        help_text += braid_help(("train",))
        for value in [w for flag, w in zip(words, words[1:]) if flag == "--set"]:
            if value.split("=")[0] not in keys():
                yield f"no key {value}"
    for option in unknown_options(words[1:], help_text):
        yield f"{words[0]}: no option {option}"


def wrong_in(line):
    words = words_of(line)
    for word in words:
        if re.fullmatch(r"configs/\S+\.toml", word) and not (ROOT / word).exists():
            yield f"no file {word}"
    for i, word in enumerate(words):
        if word in ("braid", "build/braid"):
            yield from wrong_braid_words(words[i + 1 :])
            return
        if word in SCRIPTS:
            yield from wrong_script_words(words[i:])
            return


@functools.cache
def keys():
    return set(re.findall(r"^(\w+\.\w+) ", braid("config", "--keys").stdout, re.M))


@every_page
def test_commands_and_their_options_exist(page):
    assert [wrong for line in code_lines(page.read_text()) for wrong in wrong_in(line)] == []


def test_examples_in_the_help_texts_are_commands_that_exist():
    for command in commands():
        help_text = braid_help((command,))
        lines = re.findall(r"^  (.*)$", help_text.split("Examples:")[1], re.M)
        assert any(f"braid {command}" in line for line in lines), command
        assert [wrong for line in lines for wrong in wrong_in(line)] == [], command


def test_a_wrong_command_line_is_noticed():
    assert list(wrong_in("mpirun -n 2 build/braid trian x.toml")) == ["no command trian"]
    assert list(wrong_in("build/braid train x.toml --otu runs/a  # --nothing")) == ["braid train: no option --otu"]
    assert list(wrong_in("launch/local configs/none.toml --set train.stpes=4")) == ["no file configs/none.toml", "no key train.stpes=4"]
    assert list(wrong_in("launch/setup --quick")) == ["launch/setup: no option --quick"]
    assert list(wrong_in("build/braid status runs/a | grep lost --nothing")) == []


@every_page
def test_keys_named_in_backticks_exist(page):
    named = re.findall(r"`((?:model|data|optim|train|checkpoint|watchdog|sweep)\.[a-z]\w*)(?: ?= ?[^`]*)?`", page.read_text())
    files = {"train.h5", "sweep.json", "sweep.h", "model.safetensors", "train.jsonl"}
    assert len(keys()) > 30
    assert sorted(set(named) - keys() - files) == []


def string_literals():
    """All texts of the sources; literals that follow on are one, as the compiler sees them."""
    text = ""
    for folder in ("src", "launch", "tools"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and (folder == "launch" or path.suffix in {".cpp", ".h", ".cu", ".cuh", ".py", ""}):
                text += re.sub(r'"\s*\n\s*"', "", path.read_text()).replace('\\"', '"')
    return text


def unknown_messages(messages):
    """Parts of messages that no source has."""
    sources = string_literals()
    fragments = [part.strip(" :,;()") for message in messages for part in message.split("…")]
    return [part for part in fragments if len(part) > 6 and part not in sources]


def test_messages_of_the_troubleshooting_page_are_those_of_the_sources():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    cells = [re.split(r"(?<!\\)\|", line)[1] for line in page.splitlines() if line.startswith("| ") and not line.startswith("| message")]
    ours = [cell for cell in cells if "Open MPI:" not in cell and "h5py" not in cell and "Killed" not in cell]
    messages = [message for cell in ours for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 50
    assert unknown_messages(messages) == []


def test_what_one_sees_on_the_recovering_page_is_in_the_sources():
    page = (ROOT / "docs/recovering.md").read_text()
    failures = re.split(r"^## ", page, flags=re.M)[1:-1]
    assert len(failures) > 12
    for failure in failures:
        assert re.findall(r"^\*\*(\w+):\*\*", failure, re.M) == ["Seen", "Means", "Do"], failure.splitlines()[0]
    seen = [part for part in re.findall(r"^\*\*Seen:\*\*(.*?)\n\n", page, re.M | re.S)]
    words_of_others = {"NODE_FAIL", "PREEMPTED", "TIMEOUT", "REQUEUED", "sacct", "dmesg", "checkpoint.on_failure = \"stop\""}
    messages = [message.replace("\n", " ") for part in seen for message in re.findall(r"`([^`]+)`", part)]
    assert unknown_messages(set(messages) - words_of_others) == []
