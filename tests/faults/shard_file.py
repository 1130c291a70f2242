# SPDX-License-Identifier: Apache-2.0
"""Writes token shards from Python, and the digest they carry."""

import h5py
import numpy as np

_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82F63B78 if _byte & 1 else 0)
    _TABLE.append(_byte)


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def write_shard(path, tokens, vocabulary):
    tokens = np.asarray(tokens, np.uint8)
    texts = dict(format="braid-tokens", dtype="uint8", tokenizer="none", split="train", source="test")
    digest = crc32c(tokens.tobytes())
    with h5py.File(path, "w") as f:
        f.create_dataset("tokens", data=tokens)
        f.attrs.update(format_version=1, vocabulary=vocabulary, token_count=len(tokens), crc32c=digest)
        f.attrs.update({name: np.bytes_(text) for name, text in texts.items()})
