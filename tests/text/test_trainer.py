# SPDX-License-Identifier: Apache-2.0
"""braid data train-tokenizer against the trainer of the package tokenizers, and what it writes in that package and in
transformers."""

import json
import os
import pathlib
import subprocess
import sysconfig

import pytest
from probe import PROBE, assert_agrees
from random_texts import texts

tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
BRAID = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "braid"
pytestmark = pytest.mark.skipif(not (PROBE.exists() and BRAID.exists()), reason="braid or tokenizer_probe is not built")


def braid(*words):
    return subprocess.run([BRAID, "data", "train-tokenizer", *map(str, words)], capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some of Python's library, and random text."""
    root = tmp_path_factory.mktemp("text")
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    for name in ("argparse", "ast", "calendar", "datetime", "difflib", "inspect", "typing", "textwrap"):
        (root / f"{name}.py").write_bytes((library / f"{name}.py").read_bytes())
    (root / "random.txt").write_text("\n".join(texts(500)), encoding="utf-8", newline="")
    (root / "numbers.dat").write_text("not text")
    return root


def trained(folder, out, vocabulary, *words):
    done = braid(folder, "--vocabulary", vocabulary, "--out", out, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def trained_by_package(folder, vocabulary, least_count):
    pre = tokenizers.pre_tokenizers
    package = tokenizers.Tokenizer(tokenizers.models.BPE())
    package.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=vocabulary, min_frequency=least_count, show_progress=False,
                                             special_tokens=["<|endoftext|>"], initial_alphabet=pre.ByteLevel.alphabet())  # fmt: skip
    files = sorted(p for p in folder.iterdir() if p.suffix in (".py", ".txt"))
    package.train_from_iterator([p.read_bytes().decode() for p in files], trainer)
    return json.loads(package.to_str())["model"]


def test_merges_are_those_of_the_package(tmp_path, folder):
    ours = trained(folder, tmp_path / "tokenizer.json", 1500)["model"]
    theirs = trained_by_package(folder, 1500, 2)
    assert len(ours["vocab"]) == 1500
    assert ours["merges"] == theirs["merges"]
    assert ours["vocab"] == theirs["vocab"]


def test_pairs_that_come_too_seldom_stay_apart(tmp_path, folder):
    ours = trained(folder, tmp_path / "tokenizer.json", 60000, "--least-count", 40)["model"]
    theirs = trained_by_package(folder, 60000, 40)
    assert len(ours["vocab"]) < 10000 and len(ours["vocab"]) == len(theirs["vocab"])


def test_the_file_loads_in_the_package_and_encodes_the_same_there(tmp_path, folder):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    out = tmp_path / "tokenizer.json"
    written = trained(folder, out, 2000, *[word for token in special for word in ("--special", token)])
    assert [(token["id"], token["content"], token["special"]) for token in written["added_tokens"]] == [(i, t, True) for i, t in enumerate(special)]
    package = tokenizers.Tokenizer.from_file(str(out))
    assert_agrees(out, package, texts(3000, special))
    for text in texts(300):
        assert package.decode(package.encode(text).ids) == text
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert loaded.eos_token_id == 0 and loaded("a b")["input_ids"] == package.encode("a b").ids


def test_a_config_is_written_beside_a_file_called_tokenizer_json_only(tmp_path, folder):
    trained(folder, tmp_path / "other.json", 300)
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]
    trained(folder, tmp_path / "tokenizer.json", 300)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] == "<|endoftext|>"


def test_the_same_files_give_the_same_bytes(tmp_path, folder):
    first, second = tmp_path / "a" / "tokenizer.json", tmp_path / "b" / "tokenizer.json"
    for out in (first, second):
        trained(folder, out, 900)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("words, message", [
    (["--vocabulary", "256"], "a vocabulary of 256: expected from 257"),
    (["--vocabulary", "99999999"], "a vocabulary of 99999999"),
    (["--vocabulary", "300", "--special", "a"], "special token"),
    (["--vocabulary", "300", "--special", "ab", "--special", "ab"], "given twice"),
    (["--vocabulary", "many"], "many"),
    ([], "expected TEXT_FOLDER --vocabulary N --out FILE"),
])  # fmt: skip
def test_wrong_use_is_one_line(tmp_path, folder, words, message):
    done = braid(folder, "--out", tmp_path / "t.json", *words)
    assert done.returncode == 2 and message in done.stderr and done.stderr.strip().count("\n") == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
