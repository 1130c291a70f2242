# SPDX-License-Identifier: Apache-2.0
"""braid data tokens: shards in a tokenizer's vocabulary, read with h5py, held against the package tokenizers, and trained
on."""

import json
import os
import pathlib
import subprocess

import h5py
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRAID = pathlib.Path(os.environ.get("BRAID_BUILD", ROOT / "build")) / "braid"
FIXTURES = ROOT / "tests" / "text" / "data"


def braid(*words, timeout=120):
    return subprocess.run([BRAID, *map(str, words)], capture_output=True, text=True, timeout=timeout)


def build(folder, out, *words, tokenizer=FIXTURES / "smol.json"):
    done = braid("data", "tokens", folder, "--tokenizer", tokenizer, "--out", out, "--held-out", "0.3", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    texts = json.loads((FIXTURES / "cases.json").read_text())["texts"]
    for i in range(20):
        (folder / f"{i:02}.txt").write_text("\n".join(texts[40 * i : 40 * i + 40]), encoding="utf-8", newline="")
    (folder / "broken.md").write_bytes(b"caf\xe9 \xff\xfe text \xe2\x82")
    return folder


def documents(path):
    with h5py.File(path, "r") as file:
        tokens, starts = file["tokens"][:], file["documents"][:]
        assert starts[0] == 0 and file.attrs["token_count"] == tokens.size
        return [piece.tolist() for piece in np.split(tokens, starts[1:])], dict(file.attrs), tokens.dtype


@pytest.mark.parametrize("fixture, end", [("smol", 0), ("l3", 6001), ("tiny", 2)])
def test_each_file_is_a_document_with_the_package_s_ids_and_the_end_of_text(tmp_path, text, fixture, end):
    tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
    package = tokenizers.Tokenizer.from_file(str(FIXTURES / f"{fixture}.json"))
    build(text, tmp_path / "out", tokenizer=FIXTURES / f"{fixture}.json")
    found = []
    for split in ("train", "held-out"):
        pieces, attributes, dtype = documents(tmp_path / "out" / f"{split}.h5")
        assert dtype == np.uint16 and attributes["vocabulary"] == package.get_vocab_size()
        assert attributes["split"].decode() == split and attributes["tokenizer"].decode().startswith(f"{fixture}.json crc32c ")
        found += pieces
    files = [path.read_bytes().decode(errors="replace") for path in text.iterdir()]
    expected = [package.encode(content, add_special_tokens=False).ids + [end] for content in files]
    assert sorted(found) == sorted(expected)
    assert braid("data", "verify", tmp_path / "out").returncode == 0


def test_threads_change_nothing_and_the_end_of_text_is_an_option(tmp_path, text):
    for threads in (1, 3):
        build(text, tmp_path / str(threads), "--threads", threads)
    assert documents(tmp_path / "1" / "train.h5")[0] == documents(tmp_path / "3" / "train.h5")[0]
    build(text, tmp_path / "none", "--end-of-text", "")
    build(text, tmp_path / "other", "--end-of-text", "<|im_end|>")
    whole, bare, other = (documents(tmp_path / name / "train.h5")[0] for name in ("1", "none", "other"))
    assert [d + [0] for d in bare] == whole and [d + [2] for d in bare] == other


def test_shards_are_kept_until_text_or_tokenizer_or_end_change(tmp_path, text):
    out = tmp_path / "out"
    assert build(text, out).startswith("wrote ")
    assert build(text, out).startswith("up to date: ")
    assert build(text, out, "--end-of-text", "").startswith("wrote ")
    assert build(text, out, "--end-of-text", "", tokenizer=FIXTURES / "tiny.json").startswith("wrote ")
    (text / "00.txt").write_text("other text")
    assert build(text, out, "--end-of-text", "", tokenizer=FIXTURES / "tiny.json").startswith("wrote ")
    assert sorted(path.name for path in out.iterdir()) == ["held-out.h5", "train.h5"]


def test_large_vocabularies_need_four_bytes(tmp_path, text):
    tokenizer = json.loads((FIXTURES / "smol.json").read_text())
    tokenizer["model"]["vocab"].update({f"unused token {i}": 6000 + i for i in range(60000)})
    (tmp_path / "large.json").write_text(json.dumps(tokenizer))
    build(text, tmp_path / "small")
    build(text, tmp_path / "large", tokenizer=tmp_path / "large.json")
    small, large = documents(tmp_path / "small" / "train.h5"), documents(tmp_path / "large" / "train.h5")
    assert large[2] == np.uint32 and large[1]["vocabulary"] == 66000 and small[0] == large[0]


def test_a_model_trains_on_them(tmp_path, text):
    build(text, tmp_path / "shards")
    small = ["model.layers=1", "model.width=32", "model.mlp_width=48", "model.heads=2", "model.kv_heads=2", "model.context=16",
             "train.batch=2", "train.steps=2", "data.kind=tokens", f"data.path={tmp_path / 'shards'}"]  # fmt: skip
    sets = [word for assignment in small for word in ("--set", assignment)]
    config = ROOT / "configs/lm/tiny_llama_bytes.toml"
    done = braid("train", config, "--device", "cpu", "--out", tmp_path / "run", *sets, "--set", "model.vocabulary=6000", timeout=280)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "run" / "run.h5", "r") as file:
        assert abs(file["train"]["loss"][0] - np.log(6000)) < 1
    few = braid("train", config, "--device", "cpu", "--out", tmp_path / "few", *sets, "--set", "model.vocabulary=256", timeout=280)
    assert few.returncode == 2 and "its vocabulary of 6000 does not fit model.vocabulary = 256" in few.stderr


@pytest.mark.parametrize("words, message", [
    ([], "expected TEXT_FOLDER --tokenizer FILE --out DIR"),
    (["--tokenizer", "none.json"], "none.json: cannot be read"),
    (["--tokenizer", FIXTURES / "smol.json", "--end-of-text", "<nope>"], "--end-of-text: '<nope>' is no token"),
    (["--tokenizer", FIXTURES / "smol.json", "--held-out", "2"], "held_out_fraction"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_leaves_nothing(tmp_path, text, words, message):
    done = braid("data", "tokens", text, "--out", tmp_path / "out", *words)
    assert done.returncode == 2 and message in done.stderr and done.stderr.strip().count("\n") == 0, done.stderr
    assert not (tmp_path / "out").exists()
