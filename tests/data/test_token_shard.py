# SPDX-License-Identifier: Apache-2.0
"""Token shards between `braid data` and h5py, in both directions."""

import os
import subprocess

import h5py
import numpy as np
import pytest

BRAID = os.path.join(os.environ["BRAID_BUILD"], "braid")


def braid(*arguments):
    return subprocess.run([BRAID, *map(str, arguments)], capture_output=True, text=True)


def crc32c(data):
    """Castagnoli, bit by bit (RFC 3720): written from its polynomial, not from src/store."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "text"
    (folder / "sub").mkdir(parents=True)
    names = [f"{i}.txt" if i % 2 else f"sub/{i}.py" for i in range(30)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(np.random.default_rng(i).bytes(200 + i))
    (folder / "picture.png").write_bytes(b"not text")
    return folder


def documents_of(shard):
    with h5py.File(shard, "r") as f:
        tokens, starts = f["tokens"][:], f["documents"][:]
        return [piece.tobytes() for piece in np.split(tokens, starts[1:])], dict(f.attrs), f["tokens"].dtype


def test_every_file_is_one_document_of_one_shard_in_sorted_order(tmp_path, text):
    done = braid("data", "bytes", text, "--out", tmp_path / "out", "--held-out", "0.3")
    assert done.returncode == 0, done.stderr
    names = sorted(str(p.relative_to(text)) for p in text.rglob("*") if p.suffix in (".txt", ".py"))
    sides = {}
    for split in ("train", "held-out"):
        found, attributes, dtype = documents_of(tmp_path / "out" / f"{split}.h5")
        payload = b"".join(found)
        assert dtype == np.uint8 and attributes["dtype"] == b"uint8" and attributes["split"].decode() == split
        assert attributes["token_count"] == len(payload) and attributes["vocabulary"] == 256
        assert attributes["format"] == b"braid-tokens" and attributes["format_version"] == 1
        assert attributes["crc32c"] == crc32c(payload)
        sides[split] = [name for name in names if (text / name).read_bytes() in found]
        assert found == [(text / name).read_bytes() for name in sides[split]]
    assert sorted(sides["train"] + sides["held-out"]) == names and min(map(len, sides.values())) > 0


def test_verify_finds_changed_bytes(tmp_path, text):
    assert braid("data", "bytes", text, "--out", tmp_path / "out").returncode == 0
    assert braid("data", "verify", tmp_path / "out").returncode == 0
    with h5py.File(tmp_path / "out" / "train.h5", "r") as f:
        position = f["tokens"].id.get_offset() + 1234
    with open(tmp_path / "out" / "train.h5", "r+b") as f:
        f.seek(position)
        byte = f.read(1)[0]
        f.seek(position)
        f.write(bytes([byte ^ 1]))
    done = braid("data", "verify", tmp_path / "out")
    assert done.returncode == 1 and "digest" in done.stderr


def write_shard(path, tokens, **changes):
    values = {"format": "braid-tokens", "format_version": 1, "vocabulary": 60000, "token_count": tokens.size,
              "tokenizer": "made up", "split": "train", "crc32c": crc32c(tokens.tobytes()), **changes}
    with h5py.File(path, "w") as f:
        f["tokens"] = tokens
        f.attrs.update(values)


def test_shards_that_h5py_wrote_are_read(tmp_path):
    for name in ("train.h5", "held-out.h5"):
        write_shard(tmp_path / name, np.arange(3000, dtype="<u2") * 19)
    done = braid("data", "verify", tmp_path)
    assert done.returncode == 0 and done.stdout.count("3000 tokens, digest right") == 2, done.stderr


@pytest.mark.parametrize("tokens, changes, words", [
    (np.arange(100, dtype="<i8"), {}, "uint8, uint16 or uint32"),
    (np.arange(100, dtype="<f4"), {}, "uint8, uint16 or uint32"),
    (np.arange(100, dtype="<u2").reshape(10, 10), {}, "one dimension"),
    (np.arange(100, dtype="<u2"), {"token_count": 150}, "token_count"),
    (np.arange(100, dtype="<u2"), {"format_version": 2}, "newer"),
])
def test_shards_that_cannot_be_read_safely_are_one_line(tmp_path, tokens, changes, words):
    write_shard(tmp_path / "train.h5", tokens, **changes)
    done = braid("data", "verify", tmp_path)
    assert done.returncode == 2 and words in done.stderr and done.stderr.strip().count("\n") == 0, done.stderr


def test_a_chunked_shard_is_one_line(tmp_path):
    write_shard(tmp_path / "train.h5", np.arange(100, dtype="<u2"))
    with h5py.File(tmp_path / "train.h5", "r+") as f:
        del f["tokens"]
        f.create_dataset("tokens", data=np.arange(100, dtype="<u2"), chunks=(10,))
    done = braid("data", "verify", tmp_path)
    assert done.returncode == 2 and "contiguous" in done.stderr
