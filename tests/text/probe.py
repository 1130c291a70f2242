# SPDX-License-Identifier: Apache-2.0
"""Starts tokenizer_probe and compares it with the package tokenizers."""

import json
import os
import pathlib
import random
import subprocess

DATA = pathlib.Path(__file__).resolve().parent / "data"
PROBE = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "tests" / "tokenizer_probe"


def probe(path, what, values, *words):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    done = subprocess.run([PROBE, path, what, *map(str, words)], input=lines, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def differences(inputs, expected, found):
    assert len(expected) == len(found) == len(inputs)
    return [(i, e, f) for i, e, f in zip(inputs, expected, found) if e != f]


def assert_same(inputs, expected, found, what):
    wrong = differences(inputs, expected, found)
    assert not wrong, f"{what}: {len(wrong)} of {len(inputs)} differ, the shortest: {min(wrong, key=lambda w: len(str(w[0])))}"


def random_ids(package, count, seed=2):
    draw = random.Random(seed)
    ids = sorted(package.get_vocab().values())
    low = ids[:300]  # the bytes are here
    return [[draw.choice(low if draw.random() < 0.5 else ids) for _ in range(draw.randrange(12))] for _ in range(count)]


def assert_agrees(path, package, texts):
    """Ids of texts, and texts of those ids and of random ones, whole and piece by piece."""
    expected = [encoding.ids for encoding in package.encode_batch(texts)]
    assert_same(texts, expected, probe(path, "encode", texts), "encode")
    plain = [encoding.ids for encoding in package.encode_batch(texts, add_special_tokens=False)]
    assert_same(texts, plain, probe(path, "encode-plain", texts), "encode without special tokens")
    lists = expected + random_ids(package, len(texts) // 2)
    for suffix, skip in (("", True), ("-all", False)):
        decoded = package.decode_batch(lists, skip_special_tokens=skip)
        assert_same(lists, decoded, probe(path, "decode" + suffix, lists), "decode")
        pieces = probe(path, "stream" + suffix, lists)
        assert_same(lists, decoded, ["".join(p) for p in pieces], "incremental decode")
