# SPDX-License-Identifier: Apache-2.0
"""Each component that a tokenizer.json may ask for, against the package tokenizers: a fixture's file with this component
in place of its own."""

import copy
import json
import unicodedata

import pytest
from probe import DATA, PROBE, assert_agrees
from random_texts import texts

tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")

FIXTURES = {name: json.loads((DATA / f"{name}.json").read_text()) for name in ("smol", "l3", "tiny")}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")  # fmt: skip


def sequence(*pre_tokenizers):
    return {"type": "Sequence", "pretokenizers": list(pre_tokenizers)}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def metaspace(**settings):
    return {"type": "Metaspace", "replacement": "▁", **settings}


def added(content, **flags):
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": 0, "content": content, **{name: False for name in names}, **flags}


def check(tmp_path, fixture, count=1500, extra=(), **members):
    changed = copy.deepcopy(FIXTURES[fixture])
    changed["model"].update(members.pop("model", {}))
    for token in members.pop("added", []):
        highest = max([len(changed["model"]["vocab"]) - 1] + [t["id"] for t in changed["added_tokens"]])
        token["id"] = changed["model"]["vocab"].get(token["content"], highest + 1)
        changed["added_tokens"].append(token)
        extra = [*extra, token["content"]]
    changed.update(members)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(changed))
    assert_agrees(path, tokenizers.Tokenizer.from_file(str(path)), texts(count, extra))


@pytest.mark.parametrize("pre_tokenizer", [
    BYTES,
    BYTES | {"use_regex": True},
    BYTES | {"use_regex": True, "add_prefix_space": True},
    BYTES | {"add_prefix_space": True},
    sequence({"type": "Digits", "individual_digits": False}, BYTES | {"use_regex": True}),
    sequence({"type": "Whitespace"}, BYTES),
    sequence({"type": "WhitespaceSplit"}, BYTES),
    sequence({"type": "CharDelimiterSplit", "delimiter": "."}, BYTES),
    sequence(split(QWEN2), BYTES),
    sequence(split(O200K), BYTES),
    sequence(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(CL100K), BYTES),
    sequence(split(r"\p{Han}+"), split(r"\w+|\d"), BYTES),
    sequence(BYTES, split("Ġ", "MergedWithNext", kind="String")),
    sequence(BYTES | {"use_regex": True}, {"type": "Digits", "individual_digits": True}),
], ids=str)  # fmt: skip
def test_byte_level_pre_tokenizers(tmp_path, pre_tokenizer):
    check(tmp_path, "smol", pre_tokenizer=pre_tokenizer)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("behavior", ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
@pytest.mark.parametrize("pattern", [r"\s+", r"\S", r"[ \na]", "x*", r"^|$", r"\p{Lu}|\d"])
def test_split(tmp_path, pattern, behavior, invert):
    check(tmp_path, "l3", 300, pre_tokenizer=sequence(split(pattern, behavior, invert), BYTES))


@pytest.mark.parametrize("text", [" ", "  ", "ab", "."])
@pytest.mark.parametrize("behavior", ["Removed", "MergedWithPrevious", "Contiguous"])
def test_split_at_a_text(tmp_path, text, behavior):
    check(tmp_path, "l3", 300, pre_tokenizer=sequence(split(text, behavior, kind="String"), BYTES))


@pytest.mark.parametrize("ignore_merges", [False, True])
@pytest.mark.parametrize("pre_tokenizer", [
    metaspace(),
    metaspace(prepend_scheme="first"),
    metaspace(prepend_scheme="never"),
    metaspace(prepend_scheme="first", split=False),
    metaspace(add_prefix_space=True, str_rep="▁"),
    metaspace(add_prefix_space=False, prepend_scheme="never", split=False),
    sequence(split(" ", "Removed", kind="String"), metaspace(prepend_scheme="first")),
    sequence({"type": "Digits", "individual_digits": True}, metaspace(prepend_scheme="first")),
], ids=str)  # fmt: skip
def test_metaspace(tmp_path, pre_tokenizer, ignore_merges):
    check(tmp_path, "tiny", normalizer=None, pre_tokenizer=pre_tokenizer, model={"ignore_merges": ignore_merges}, extra=["<s>", "</s>"],
          decoder=metaspace(prepend_scheme="first", split=True))  # fmt: skip


@pytest.mark.parametrize("normalizer", [
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁▁"},
    {"type": "Replace", "pattern": {"Regex": r"\s+|x*"}, "content": ""},
    {"type": "Replace", "pattern": {"String": "the"}, "content": "$0"},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Sequence", "normalizers": []},
], ids=str)  # fmt: skip
def test_normalizers(tmp_path, normalizer):
    check(tmp_path, "tiny", normalizer=normalizer, extra=["<s>"])


FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def same_in_both(character):
    """Whether the tables of the package, which are of an older Unicode, agree with Python's on a character."""
    around = f"\u0345{character}\u0334"  # its place among marks
    forms = all(getattr(tokenizers.normalizers, form)().normalize_str(text) == unicodedata.normalize(form, text)
                for form in FORMS for text in (character, around))  # fmt: skip
    is_mark = unicodedata.category(character) in ("Mn", "Mc", "Me")
    marks = (tokenizers.normalizers.StripAccents().normalize_str(character) == "") == is_mark
    return unicodedata.category(character) != "Cn" and forms and marks and tokenizers.normalizers.Lowercase().normalize_str(character) == character.lower()


def texts_known_to_both(count):
    drawn = texts(count, MARKED)
    known = {character: same_in_both(character) for character in set("".join(drawn))}
    assert sum(known.values()) > 0.9 * sum(unicodedata.category(character) != "Cn" for character in known)
    return ["".join(filter(known.get, text)) for text in drawn]


MARKED = ["e\u0301", "\u1e9b\u0323", "a\u0301\u0316\u0300", "\u212b", "\u1100\u1161\u11a8", "\uac01", "ﬁ", "\ufb2c", "\u0958", "ΣΑΣ", "İ", "\u03d3", "\u0344", "\u2126", "㌀", "①"]


@pytest.mark.parametrize("normalizer", [
    *({"type": form} for form in FORMS),
    {"type": "Lowercase"},
    {"type": "StripAccents"},
    {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFKC"}]},
], ids=str)  # fmt: skip
def test_unicode_normalizers(tmp_path, normalizer):
    changed = copy.deepcopy(FIXTURES["smol"]) | {"normalizer": normalizer}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(changed))
    assert_agrees(path, tokenizers.Tokenizer.from_file(str(path)), texts_known_to_both(1500))


@pytest.mark.parametrize("fuse_unk", [False, True])
@pytest.mark.parametrize("missing", ["<0xF0>", "<0x9F>", ""])
def test_what_is_not_in_the_vocabulary(tmp_path, fuse_unk, missing):
    """Without the token of one byte, characters that have it are unknown and all others are bytes."""
    vocab = {token: id for token, id in FIXTURES["tiny"]["model"]["vocab"].items() if token != missing}
    check(tmp_path, "tiny", model={"fuse_unk": fuse_unk, "vocab": vocab, "byte_fallback": missing != ""})
    check(tmp_path, "tiny", 300, model={"fuse_unk": fuse_unk, "unk_token": None, "byte_fallback": False})


def test_merges_as_texts(tmp_path):
    check(tmp_path, "smol", 300, model={"merges": [" ".join(pair) for pair in FIXTURES["smol"]["model"]["merges"]]})


@pytest.mark.parametrize("fixture", ["smol", "tiny"])
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("flags", [
    {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True},
    {"normalized": True}, {"normalized": True, "lstrip": True, "single_word": True}, {"normalized": True, "rstrip": True},
], ids=str)  # fmt: skip
def test_added_tokens(tmp_path, fixture, special, flags):
    tokens = [added(content, special=special, **flags) for content in ("<a>", "the", "the the", "  ", " x", "\n\n", "世界", "é", "<a>b")]
    check(tmp_path, fixture, added=tokens)


def special_piece(name):
    return {"SpecialToken": {"id": name, "type_id": 0}}


def test_templates(tmp_path):
    text = {"Sequence": {"id": "A", "type_id": 0}}
    known = {"B": {"id": "B", "ids": [1, 5], "tokens": ["x", "y"]}, "E": {"id": "E", "ids": [2], "tokens": ["z"]}}
    inner = {"type": "TemplateProcessing", "single": [special_piece("B"), text, special_piece("E"), special_piece("B")], "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": known}
    check(tmp_path, "smol", 300, post_processor=inner)
    check(tmp_path, "smol", 300, post_processor={"type": "Sequence", "processors": [BYTES, inner]})
    check(tmp_path, "smol", 300, post_processor=BYTES)


REPLACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}


def decoders(*stages):
    return {"type": "Sequence", "decoders": list(stages)}


@pytest.mark.parametrize("decoder", [
    None,
    REPLACE,
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "Strip", "content": "▁", "start": 2, "stop": 0},
    {"type": "Strip", "content": "e", "start": 0, "stop": 0},
    metaspace(prepend_scheme="always", split=True),
    metaspace(prepend_scheme="never", split=True),
    decoders(),
    decoders(REPLACE, {"type": "ByteFallback"}, {"type": "Fuse"}),
    decoders({"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": "▁", "start": 3, "stop": 0}, REPLACE),
    decoders({"type": "Fuse"}, {"type": "Replace", "pattern": {"Regex": r"▁+t|<0x\d"}, "content": "[]"}),
    decoders({"type": "Fuse"}, {"type": "Strip", "content": "s", "start": 1, "stop": 0}, metaspace(prepend_scheme="always", split=True)),
], ids=str)  # fmt: skip
def test_decoders(tmp_path, decoder):
    check(tmp_path, "tiny", decoder=decoder, extra=["<s>", "</s>"])
