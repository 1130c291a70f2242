# SPDX-License-Identifier: Apache-2.0
"""braid gist: a cache is what eval answers from, numbers that h5py shows, and only of the weights that made it."""

import shutil

import h5py
import numpy as np
import pytest
from cli_run import ROOT, braid, one_line, sets

QUICK = ROOT / "configs/gist/passkey_quick.toml"
# Long enough for answers that depend on the context, right or wrong.
SHORT = ["model.width=32", "model.layers=3", "model.mlp_width=48", "gist.count=2", "gist.segment=16", "gist.overlap=4", "gist.eval_length=40",
         "gist.eval_answers=4", 'gist.phases=["segments=16 tokens=512 steps=150"]', "train.eval_every=0"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and a cache of six of its held-out contexts."""
    out = tmp_path_factory.mktemp("gist") / "run"
    done = braid("train", QUICK, "--out", out, "--device", "cpu", *sets(SHORT))
    assert done.returncode == 0, done.stderr
    cache = out.parent / "cache.h5"
    done = braid("gist", "compress", out, "--held-out", 6, "--output", cache, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 contexts, 240 tokens to 36 gists, 27.0 KiB")
    return out, cache


def ask(out, cache, *arguments):
    return braid("gist", "ask", out, "--cache", cache, "--device", "cpu", *arguments)


def lines(done):
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_cache_answers_what_the_evaluation_answers(made, tmp_path):
    out, cache = made
    done = braid("eval", out, "--limit", 6, "--no-full", "--output", tmp_path / "e.h5", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "e.h5") as f:
        expected = [row["answer"].decode() for row in f["answers"] if row["system"] == b"gist"]
    digits = [line.split(",") for line in lines(ask(out, cache, "--ids", "12", "--max-new-tokens", 6))]
    words = ["".join(id if int(id) < 10 else {"11": " END"}.get(id, f" <{id}>") for id in ids) for ids in digits]
    assert len(words) == 6 and len(set(words)) > 1
    for found, word in zip(words, expected):
        assert word.startswith(found) if "END" in found else word == found
    assert lines(ask(out, cache, "--ids", "12", "--context", 4, "--max-new-tokens", 6)) == [",".join(digits[4])]
    assert len(lines(ask(out, cache, "--ids", "12", "--ids", "12,3", "--max-new-tokens", 2))) == 12


def test_h5py_reads_keys_values_and_positions(made):
    _, cache = made
    with h5py.File(cache) as f:
        assert f["gist_kv"].shape == (6, 3, 2, 4, 6, 8) and f["gist_kv"].dtype == np.float32
        assert np.abs(f["gist_kv"][:]).max() > 0.1
        assert (f["gist_positions"][:] == [16, 17] * 3).all()
        assert list(f["context_tokens"]) == [40] * 6
        assert f.attrs["format"] == b"braid-gist-cache" and f.attrs["model"].startswith(b"crc32c:")
        assert (f.attrs["segment"], f.attrs["overlap"], f.attrs["gists"], f.attrs["rope_base"]) == (16, 4, 2, 10000.0)


def test_half_the_bytes_hold_rounded_numbers(made, tmp_path):
    out, cache = made
    whole = h5py.File(cache)["gist_kv"][:]
    for store, tolerance in (("bf16", 2**-8), ("fp16", 2**-10)):
        path = tmp_path / f"{store}.h5"
        done = braid("gist", "compress", out, "--held-out", 6, "--output", path, "--store", store, "--device", "cpu")
        assert done.returncode == 0 and "13.5 KiB" in done.stdout
        with h5py.File(path) as f:
            stored = f["gist_kv"][:].astype(np.float64)
            assert f["gist_kv"].id.get_type().get_size() == 2
        assert np.abs(stored - whole).max() <= tolerance * np.abs(whole).max()
        assert len(lines(ask(out, path, "--ids", "12"))) == 6


def test_contexts_of_any_length_are_token_ids_by_line(made, tmp_path):
    out, _ = made
    (tmp_path / "c.txt").write_text("20,21,22\n" + ",".join(str(15 + i % 60) for i in range(50)) + "\n")
    done = braid("gist", "compress", out, "--input", tmp_path / "c.txt", "--output", tmp_path / "c.h5", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "c.h5") as f:
        assert f["gist_positions"][:].tolist() == [[3, 4, -1, -1, -1, -1, -1, -1], [16, 17] * 4]
        assert (f["gist_kv"][0, ..., 2:, :] == 0).all() and (f["gist_kv"][1] != 0).any(axis=(0, 1, 2, 4)).all()
    assert len(lines(ask(out, tmp_path / "c.h5", "--ids", "12"))) == 2


def test_other_weights_are_one_line(made, tmp_path):
    _, cache = made
    other = tmp_path / "other"
    assert braid("train", QUICK, "--out", other, "--device", "cpu", *sets([*SHORT, "train.seed=3", 'gist.phases=["segments=16 steps=1"]'])).returncode == 0
    assert "was compressed by weights crc32c:" in one_line(ask(other, cache, "--ids", "12"), 2)


def test_a_damaged_cache_is_one_line(made, tmp_path):
    out, cache = made
    data = cache.read_bytes()
    for name, damaged in (("flip", data[:3000] + bytes([data[3000] ^ 1]) + data[3001:]), ("cut", data[:-100]), ("text", b"x" * 2000), ("empty", b"")):
        path = tmp_path / f"{name}.h5"
        path.write_bytes(damaged)
        assert "no gist cache, or a damaged one" in one_line(ask(out, path, "--ids", "12"), 2)
    assert "missing.h5" in one_line(ask(out, tmp_path / "missing.h5", "--ids", "12"), 2)


def test_wrong_use_is_one_line_and_leaves_nothing(made, tmp_path):
    out, cache = made
    kept = tmp_path / "kept.h5"
    shutil.copy(cache, kept)
    (tmp_path / "ids.txt").write_text("20,21\n20,x\n")
    (tmp_path / "high.txt").write_text("20,79\n")
    for arguments, words in [
        ([], "say what to do"),
        (["pack"], "there are: compress, ask"),
        (["compress", out, "--output", kept], "expected one of --input, --dataset, --held-out"),
        (["compress", out, "--held-out", 2], "expected --output FILE"),
        (["compress", out, "--held-out", 2, "--output", tmp_path / "none/c.h5"], "no such folder"),
        (["compress", out, "--input", tmp_path / "none", "--output", kept], "no such file"),
        (["compress", out, "--input", tmp_path / "ids.txt", "--output", kept], "ids.txt:2: expected token ids"),
        (["compress", out, "--input", tmp_path / "high.txt", "--output", kept], "knows tokens 0 to 78, found 79"),
        (["compress", out, "--dataset", tmp_path / "ids.txt", "--output", kept], "has a tokenizer"),
        (["ask", out, "--cache", cache], "expected --question TEXT or --ids LIST"),
        (["ask", out, "--cache", cache, "--ids", "12,x"], "expected token ids"),
        (["ask", out, "--cache", cache, "--question", "What?"], "no tokenizer"),
        (["ask", out, "--cache", cache, "--ids", "12", "--context", 6], "has contexts 0 to 5"),
    ]:
        assert words in one_line(braid("gist", *arguments), 2), arguments
    assert kept.read_bytes() == cache.read_bytes()
    assert not (tmp_path / "kept.h5.new").exists()
