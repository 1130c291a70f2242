# SPDX-License-Identifier: Apache-2.0
"""braid data engram against what the public experiment's programs wrote, and on the patterns that ship."""

import hashlib
import json
import os
import pathlib

import pytest
from cli_run import ROOT, braid, one_line

SHARED = pathlib.Path(os.environ.get("BRAID_SHARED_DATA", ROOT.parent / "shared" / "data"))
PUBLIC = SHARED / "engram" / "patterns"
OWN = ROOT / "data" / "engram"
# sha256 (first 16 digits) of train, valid and test that the programs of softwarewrighter/engram-poc c3729643 wrote.
PUBLISHED = {
    "cuda": (243, 61, 128, "5be069bf23814ae6", "3325dbadc8b4f15f", "8586073c79c454b0"),
    "mlx": (269, 68, 104, "c2d83bba15310a29", "5e142644538ddcc1", "207eeca4fe14a35c"),
}
NAMES = ("train.jsonl", "valid.jsonl", "test.jsonl")


def split(patterns, variant, out, *more):
    done = braid("data", "engram", "--patterns", patterns, "--variant", variant, "--out", out, *more)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [(out / name).read_bytes() for name in NAMES]


def rows(content):
    return [json.loads(line) for line in content.splitlines()]


@pytest.mark.skipif(not PUBLIC.is_dir(), reason=f"{PUBLIC}: the public pattern files are not there (BRAID_SHARED_DATA)")
@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_public_files_are_written_to_the_byte(tmp_path, variant):
    files = split(PUBLIC, variant, tmp_path)
    digests = tuple(hashlib.sha256(content).hexdigest()[:16] for content in files)
    assert (*(len(rows(content)) for content in files), *digests) == PUBLISHED[variant]


@pytest.mark.parametrize("variant", ["cuda", "mlx", "clean"])
def test_lines_are_chats_with_their_category(tmp_path, variant):
    train, _, test = (rows(content) for content in split(OWN, variant, tmp_path))
    for row in train + test:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    more = {"cuda": {"category"}, "mlx": {"category", "source_file"}, "clean": {"category", "source_file"}}[variant]
    assert all(set(row) == {"messages"} | more for row in test)
    assert all(set(row) == {"messages"} | (more if variant == "clean" else set()) for row in train)


def test_nothing_tested_was_trained_on_in_a_clean_split(tmp_path):
    train, valid, test = (rows(content) for content in split(OWN, "clean", tmp_path, "--seed", "7"))
    prompts = lambda part: {row["messages"][0]["content"] for row in part}
    tested = prompts(test)
    assert tested and not [p for p in prompts(train) | prompts(valid) if any(p.endswith(t) for t in tested)]
    assert split(OWN, "clean", tmp_path / "again", "--seed", "7")[2] == (tmp_path / "test.jsonl").read_bytes()


def test_bad_use_is_one_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: x\n")
    out = tmp_path / "out"
    for arguments, words in [
        (["--variant", "cuda", "--out", out], "--patterns DIR"),
        (["--patterns", OWN, "--out", out], "--variant"),
        (["--patterns", OWN, "--variant", "cuda"], "--out DIR"),
        (["--patterns", OWN, "--variant", "gpu", "--out", out], "cuda, mlx or clean"),
        (["--patterns", tmp_path / "none", "--variant", "mlx", "--out", out], "no such folder"),
        (["--patterns", tmp_path, "--variant", "mlx", "--out", out], f"{tmp_path}/bad.yaml:1: "),
        (["--patterns", OWN, "--variant", "mlx", "--out", tmp_path / "bad.yaml" / "x"], "cannot be created"),
        (["--patterns", OWN, "--variant", "mlx", "--out", out, "--seed", "x"], "failed to parse"),
        ([OWN, "--patterns", OWN, "--variant", "mlx", "--out", out], "unexpected argument"),
    ]:
        assert words in one_line(braid("data", "engram", *arguments), 2)
        assert not out.exists()


def test_the_help_is_complete():
    text = braid("data", "engram", "--help").stdout
    assert all(word in text for word in ("--patterns", "--variant", "--seed", "--out", "\nExamples:\n", "\nExit codes: 0 "))
    assert [line for line in text.splitlines() if len(line) > 100] == []
