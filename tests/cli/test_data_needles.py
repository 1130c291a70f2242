# SPDX-License-Identifier: Apache-2.0
"""braid data needles and check, held against code that shares nothing with them: Python's own strings, tokenizers, h5py."""

import itertools
import json
import re
import shutil

import h5py
import numpy
import pytest
from cli_run import ROOT, braid, one_line
from tokenizers import Tokenizer

TOKENIZERS = ROOT / "tests" / "text" / "data"
SHORT = ["--tokens", "300..700", "--samples", "24"]
KEY = re.compile(r"(?<![A-Z0-9])[A-Z0-9]{6}(?![A-Z0-9])")


def make(out, *arguments):
    done = braid("data", "needles", *arguments, "--out", out)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    path = re.search(r"wrote (\S+)\.\{jsonl,h5\}", done.stdout).group(1)
    return path + ".jsonl", rows(path + ".jsonl")


def rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def check(*arguments, code=0):
    done = braid("data", "check", *arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    out = tmp_path_factory.mktemp("presets")
    return {name: make(out, "--preset", name, "--seed", "7") for name in ("global", "korean")}


def statement(row, needle):
    return row["context"][needle["char_start"] : needle["char_end"]]


@pytest.mark.parametrize("name", ["global", "korean"])
def test_the_named_sets_are_like_the_public_ones_but_reach_every_depth(presets, name):
    _, samples = presets[name]
    assert len(samples) == 200 and {row["lang"] for row in samples} == {"global": {"en"}, "korean": {"ko"}}[name]
    lengths = [row["context_tokens"] for row in samples]
    assert lengths == [len(row["context"].encode()) for row in samples]  # a token is a byte
    assert 2000 - 40 <= min(lengths) < 2300 and 7700 < max(lengths) <= 8000
    depths = sorted(needle["depth"] for row in samples for needle in row["needles"])
    apart = max(max(i / 200 - d, d - (i - 1) / 200) for i, d in enumerate(depths, 1))  # Kolmogorov and Smirnov
    assert apart < 1.63 / 200**0.5 and depths[0] < 0.02 and depths[-1] > 0.98
    for row in samples:
        (key,) = row["answers"]
        assert re.fullmatch("[A-Z0-9]{6}", key) and KEY.findall(row["context"]) == [key] and row["context"].count(key) == 1
        assert key in statement(row, row["needles"][0]) and key not in row["question"] + row["instruction"]
        assert not re.search("[0-9]", row["context"].replace(key, ""))
        before = row["context"][: row["needles"][0]["char_start"]]
        assert re.fullmatch(r"(?s)|.*\.\s+", before)  # behind a sentence, or at the beginning
    assert len({row["answers"][0] for row in samples}) == len({row["id"] for row in samples}) == 200


@pytest.mark.parametrize("name", ["global", "korean"])
def test_filler_is_varied(presets, name):
    _, samples = presets[name]
    sentences = re.split(r"(?<=[.?])\s+", " ".join(row["context"] for row in samples[:30]))[:406]
    words = re.findall(r"\w+", " ".join(sentences).lower())
    # The public set: 22 distinct sentences of 406, type-token ratio 0.076.
    assert len(set(sentences)) > 0.97 * 406 and len(set(words)) / len(words) > 0.2
    assert len({row["needles"][0]["value"] and statement(row, row["needles"][0]).replace(row["answers"][0], "") for row in samples}) >= 8
    assert len({row["question"] for row in samples}) >= 8 and len({row["instruction"] for row in samples}) >= 8


def test_samples_are_a_function_of_seed_split_and_index(presets, tmp_path):
    path, samples = presets["global"]
    again, _ = make(tmp_path / "again", "--preset", "global", "--seed", "7")
    assert open(path, "rb").read() == open(again, "rb").read()
    assert make(tmp_path / "part", "--preset", "global", "--seed", "7", "--first", "5", "--samples", "3")[1] == samples[5:8]
    assert make(tmp_path / "other", "--preset", "global", "--seed", "8", "--samples", "1")[1][0]["context"] != samples[0]["context"]


@pytest.mark.parametrize("tokenizer, language, task", [
    ("smol", "en", "single"), ("l3", "ko", "multikey"), ("tiny", "ko", "single"), ("tiny", "en", "vt"), ("l3", "en", "multiquery"),
])  # fmt: skip
def test_token_spans_are_those_of_the_package_and_the_mirror_holds_them(tmp_path, tokenizer, language, task):
    file = TOKENIZERS / f"{tokenizer}.json"
    path, samples = make(tmp_path, "--tokenizer", file, "--language", language, "--task", task, "--distractors", "0.1", *SHORT)
    theirs = Tokenizer.from_file(str(file))
    contexts = [theirs.encode(row["context"], add_special_tokens=False) for row in samples]
    for row, encoded in zip(samples, contexts):
        assert len(encoded.ids) == row["context_tokens"] <= 700
        for needle in row["needles"]:
            inside = [i for i, (a, b) in enumerate(encoded.offsets) if b > needle["char_start"] and a < needle["char_end"] and row["context"][a:b].strip()]
            assert (inside[0], inside[-1] + 1) == (needle["tok_start"], needle["tok_end"])
            assert theirs.decode(encoded.ids[needle["tok_start"] : needle["tok_end"]]).strip() == statement(row, needle)
            assert row["context"].count(statement(row, needle)) == 1
            places = len(encoded.ids) - (needle["tok_end"] - needle["tok_start"])
            assert needle["depth"] == pytest.approx(needle["tok_start"] / places, abs=1e-6)
    with h5py.File(path.replace(".jsonl", ".h5"), "r") as f:
        part = lambda name, i: f[f"{name}tokens"][f[f"{name}offsets"][i] : f[f"{name}offsets"][i + 1]].tolist()
        for i, row in enumerate(samples):
            assert part("", i) == contexts[i].ids
            assert part("question_", i) == theirs.encode(row["question"], add_special_tokens=False).ids
            assert part("answer_", i) == theirs.encode(", ".join(row["answers"]), add_special_tokens=False).ids
        needles = [needle for row in samples for needle in row["needles"]]
        for column, field in [("needle_tok_start", "tok_start"), ("needle_tok_end", "tok_end"), ("depth", "depth")]:
            assert f[column][:].tolist() == [needle[field] for needle in needles]
        assert numpy.diff(f["needle_offsets"][:]).tolist() == [len(row["needles"]) for row in samples]
        assert f["tokens"].dtype == "uint32" and f["offsets"].dtype == "int64" and f["offsets"].shape == (25,)
        attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in f.attrs.items()}
        assert attributes["format"] == "braid-needles" and attributes["generator_version"] == 1 and attributes["task"] == task
        assert attributes["templates"] == samples[0]["filler_id"] and "{value}" in attributes["wordings"]
    assert "its token span decodes to it; the HDF5 mirror agrees" in check(path)


@pytest.mark.parametrize("tokenizer", ["tiny", "l3"])
def test_a_context_falls_short_of_its_length_by_less_than_a_sentence(tmp_path, tokenizer):
    file = TOKENIZERS / f"{tokenizer}.json"
    _, samples = make(tmp_path, "--tokenizer", file, "--tokens", "1500", "--samples", "20")
    theirs = Tokenizer.from_file(str(file))
    encode = lambda text: theirs.encode(text, add_special_tokens=False).ids
    sentences = [s for row in samples[:2] for s in re.split(r"(?<=[.])\s+", row["context"])]
    mean = sum(len(encode(". " + s)) - len(encode(".")) for s in sentences) / len(sentences)
    assert all(1500 - mean < row["context_tokens"] == len(encode(row["context"])) <= 1500 for row in samples)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_tasks_with_several_keys_ask_what_they_state(tmp_path, language):
    for task in ("multikey", "multivalue", "multiquery"):
        path, samples = make(tmp_path, "--language", language, "--task", task, *SHORT, "--tokens", "900..1200")
        for row in samples:
            values = [needle["value"] for needle in row["needles"]]
            labels = [needle["key"] for needle in row["needles"]]
            assert len(set(values)) == 4 and sorted(KEY.findall(row["context"])) == sorted(values)
            assert all(needle["value"] in statement(row, needle) and needle["key"] in statement(row, needle) for needle in row["needles"])
            asked = sorted({label for label in labels if label in row["question"]}, key=row["question"].index)
            assert row["answers"] == [value for value, label in zip(values, labels) if label in asked]
            assert len(row["answers"]) == (1 if task == "multikey" else 4) and len(set(labels)) == (1 if task == "multivalue" else 4)
            if task == "multiquery":
                assert asked == labels
    path, samples = make(tmp_path, "--language", language, "--task", "vt", *SHORT, "--tokens", "900..1200")
    for row in samples:
        names = [needle["key"] for needle in row["needles"]]
        assert [needle["value"] for needle in row["needles"][1:]] == names[:-1] and row["answers"] == names and len(set(names)) == 5
        assert re.fullmatch("[0-9]{5}", row["needles"][0]["value"]) and row["needles"][0]["value"] in row["question"]
        starts = [needle["char_start"] for needle in row["needles"]]
        assert starts == sorted(starts)  # a value is stated before it is taken
    check(path)


def test_no_key_of_training_is_tested_whatever_the_seeds(tmp_path):
    keys = {"train": set(), "test": set()}
    files = []
    for split, seed in itertools.product(keys, "12"):
        path, samples = make(tmp_path / seed, "--split", split, "--seed", seed, "--distractors", "0.3", "--tokens", "400", "--samples", "150",
                             "--key-characters", "digits", "--key-length", "3")  # fmt: skip
        keys[split] |= {row["answers"][0] for row in samples}
        files.append(path)
    assert len(keys["train"]) > 200 and len(keys["test"]) > 80 and not keys["train"] & keys["test"]
    assert "keys of 300 training and 300 test samples are disjoint" in check(*files)


def test_distractors_have_their_share_and_the_form_of_keys(tmp_path):
    _, samples = make(tmp_path, "--distractors", "0.25", "--samples", "60", "--tokens", "2000")
    text = "  ".join(row["context"][: row["needles"][0]["char_start"]] + row["context"][row["needles"][0]["char_end"] :] for row in samples)
    sentences = re.split(r"(?<=[.])\s+", text)
    false_keys = [s for s in sentences if KEY.search(s) and re.search("[A-Z]", KEY.search(s).group())]
    numbers = [s for s in sentences if re.search(r"\b[0-9]{3,7}\b", s)]
    share = sum(1 for s in sentences if re.search("[0-9]|[A-Z]{6}", s)) / len(sentences)
    assert abs(share - 0.25) < 0.03 and 0.8 < len(false_keys) / len(numbers) < 1.25


def test_wordings_can_be_held_out(tmp_path):
    seen = {}
    for part in ("first", "rest"):
        _, samples = make(tmp_path / part, "--wording", part, "--samples", "100", "--tokens", "200")
        seen[part] = {re.sub(KEY, "K", statement(row, row["needles"][0])) for row in samples}
        assert samples[0]["filler_id"].endswith(part)
    assert len(seen["first"]) == 6 and len(seen["rest"]) == 2 and not seen["first"] & seen["rest"]


def test_check_prints_depths_lengths_and_chance(presets):
    path, samples = presets["korean"]
    text = check(path)
    assert "chance 1 in 2.18e+09, a character 1 in 36" in text and "each of 200 needles stands once in its context" in text
    counts = [int(line.split()[3]) for line in text.splitlines() if re.match(r" +\d+ to +\d+ ", line)]
    depths = [needle["depth"] for row in samples for needle in row["needles"]]
    assert counts[:10] == numpy.histogram(depths, 10, (0, 1))[0].tolist()
    assert counts[10:] == numpy.histogram([row["context_tokens"] for row in samples], 8)[0].tolist()
    assert max(map(len, text.splitlines()[3:])) <= 80


def test_check_names_the_first_sample_that_is_not_what_it_says(presets, tmp_path):
    path, samples = tmp_path / "global-test.jsonl", json.loads(json.dumps(presets["global"][1][:3]))
    key = samples[2]["answers"][0]
    samples[2]["context"] += f" Again, {key}."
    path.write_text("".join(json.dumps(row) + "\n" for row in samples))
    line = one_line(braid("data", "check", path), 1)
    assert line == f"braid: {path}:3: sample {samples[2]['id']}: the key '{key}' stands in the context 2 times"


def test_check_compares_the_mirror(presets, tmp_path):
    path, _ = presets["global"]
    for name in ("global-test.jsonl", "global-test.h5"):
        shutil.copy(path.replace("global-test.jsonl", name), tmp_path / name)
    with h5py.File(tmp_path / "global-test.h5", "r+") as f:
        f["tokens"][1000] += 1
    assert "/tokens is not what the JSON lines beside it give" in one_line(braid("data", "check", tmp_path / "global-test.jsonl"), 1)
    (tmp_path / "global-test.h5").write_bytes(b"no HDF5")
    assert "global-test.h5" in one_line(braid("data", "check", tmp_path / "global-test.jsonl"), 1)


def test_files_of_the_first_version_are_still_read():
    assert "2 samples, ko, single, test, tokens: bytes" in check(ROOT / "tests/data/formats/needles-1.jsonl")


def test_lines_of_the_public_experiment_are_read(tmp_path):
    text = "Bread is baked. Das Licht war grün. The secret is KX81PO. All is well."
    row = {"context": text, "question": "What?", "answer": "KX81PO", "needle": "KX81PO", "needle_position": 0.6, "context_length_chars": len(text)}
    korean = {"context": "비밀은 ABC123입니다.", "question": "?", "answer": "ABC123", "needle": "ABC123", "needle_position": 0.5, "language": "korean"}
    training = {"instruction": "Read.", "context": text, "gist_tokens": "<GIST_0>", "question": "What?", "answer": "KX81PO"}
    path = tmp_path / "public.jsonl"
    path.write_text("\n".join(map(json.dumps, (row, korean, training))) + "\n\n", encoding="utf-8")
    out = check(path)
    assert "3 samples" in out and "the file has no token spans" in out and "length, characters" in out
    path.write_text(json.dumps(row | {"context": text + " KX81PO"}) + "\n")
    assert "stands in the context 2 times" in one_line(braid("data", "check", path), 1)


def test_malformed_files_are_one_line_with_the_line_number(presets, tmp_path):
    good = open(presets["global"][0], encoding="utf-8").readline()
    path = tmp_path / "bad.jsonl"
    for second, words in [
        (b'{"context": "\xff"}\n', f"{path}:2: expected UTF-8"),
        (b'{"context": "a", "question": "b", "needle": "c"}\n', f"{path}:2: needle: 'c' is not in the context"),
        (good.replace('"bytes"', '"gone.json crc32c:00000000"').encode(), "(--tokenizer FILE): gone.json: cannot be read"),
    ]:
        path.write_bytes((b"" if b"gone" in second else good.encode()) + second)
        assert words in one_line(braid("data", "check", path), 2)
    assert "no_such" in one_line(braid("data", "check", tmp_path / "no_such"), 2)


def test_bad_use_is_one_line(tmp_path):
    out = ["--out", tmp_path / "out"]
    (tmp_path / "bad.yaml").write_text("name: x\n")
    for arguments, words in [
        ([], "expected --out DIR"),
        (["--preset", "local", *out], "global or korean"),
        (["--tokens", "many", *out], "expected A..B or a number"),
        (["--tokens", "20", *out], "are not enough for the statements"),
        (["--language", "fr", *out], "expected en or ko"),
        (["--templates", tmp_path / "bad.yaml", *out], "field language is missing"),
        (["--tokenizer", tmp_path / "none.json", *out], "none.json: cannot be read"),
        (["--name", "a/b", *out], "the beginning of a file name"),
    ]:
        assert words in one_line(braid("data", "needles", *arguments), 2)
    assert not (tmp_path / "out").exists()
    assert "expected FILE" in one_line(braid("data", "check"), 2)


def test_templates_of_ones_own_are_used_and_refused_by_field(tmp_path):
    text = (ROOT / "data/needles/english.yaml").read_text()
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("name: english", "name: own").replace("  - State the secret passkey.", "  - Say it."))
    _, samples = make(tmp_path, "--templates", own, *SHORT)
    assert samples[0]["id"].startswith("own-single-test-") and "Say it." in {row["question"] for row in samples}
    for old, new, words in [
        ("is {value}.\n  - Please", "is.\n  - Please", "needles: 'The secret passkey to remember is.': expected {value} once"),
        ("  goods: [salt", "  goods: ['{goods}', salt", "words.goods leads back to itself"),
        ("{who} {did}.", "{who} {didd}.", "there is no list words.didd"),
        ("fillers:", "filers:", "unknown field 'filers'"),
    ]:
        own.write_text(text.replace(old, new, 1))
        assert words in one_line(braid("data", "needles", "--templates", own, "--out", tmp_path / "x"), 2)


def test_the_help_is_complete():
    for action, options in [("needles", ("--preset", "--seed", "--out", "--depth")), ("check", ("--tokenizer",))]:
        text = braid("data", action, "--help").stdout
        assert all(word in text for word in (*options, "\nExamples:\n", "\nExit codes: 0 "))
        assert [line for line in text.splitlines() if len(line) > 100] == []
