# SPDX-License-Identifier: Apache-2.0
"""h5py reads what `braid data bytes` writes."""

import os
import subprocess

import h5py

BRAID = os.path.join(os.environ["BRAID_BUILD"], "braid")


def test_a_shard_is_the_bytes_of_its_files(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    content = {f"{i}.txt": bytes(range(256)) * (i + 1) for i in range(30)}
    for name, data in content.items():
        (text / name).write_bytes(data)
    done = subprocess.run([BRAID, "data", "bytes", text, "--out", tmp_path / "out", "--held-out", "0.3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    total = 0
    for split in ("train", "held-out"):
        with h5py.File(tmp_path / "out" / f"{split}.h5", "r") as f:
            tokens = f["tokens"][:].tobytes()
            assert f.attrs["token_count"] == len(tokens) and f.attrs["vocabulary"] == 256
            assert f.attrs["format"] == b"braid-tokens" and f.attrs["split"].decode() == split
            assert tokens == bytes(range(256)) * (len(tokens) // 256)
            total += len(tokens)
    assert total == sum(map(len, content.values()))
    assert subprocess.run([BRAID, "data", "verify", tmp_path / "out"]).returncode == 0
    with open(tmp_path / "out" / "train.h5", "r+b") as f:
        f.seek(-300, os.SEEK_END)
        f.write(b"\xff\x00\xff")
    done = subprocess.run([BRAID, "data", "verify", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 1 and "digest" in done.stderr
