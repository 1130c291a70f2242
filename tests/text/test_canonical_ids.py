# SPDX-License-Identifier: Apache-2.0
"""Which tokens count as the same for hash memory, against the normalizers of the package tokenizers."""

import unicodedata

import pytest
from probe import DATA, PROBE, assert_same, probe
from random_texts import texts

tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
from tokenizers import Regex, normalizers as n  # noqa: E402

pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")
FAMILIES = ["smol", "l3", "tiny"]
KEPT = "\ue000"  # what stands for a lone blank while ends are stripped
NORMALIZER = n.Sequence([n.NFKC(), n.NFD(), n.StripAccents(), n.Lowercase(), n.Replace(Regex(r"[ \t\r\n]+"), " "),
                         n.Replace(Regex(r"^ $"), KEPT), n.Strip(), n.Replace(KEPT, " ")])  # fmt: skip


def test_texts_take_the_packages_form():
    # Of letters that Unicode 14 (Python 3.11 and utf8proc 2.8) and the package's tables know alike.
    known = lambda c: unicodedata.category(c) != "Cn" and n.NFKC().normalize_str(c) == unicodedata.normalize("NFKC", c)  # noqa: E731
    given = [t for t in texts(4000, (), 3) if KEPT not in t and all(map(known, t))]
    assert len(given) > 2000
    given += [" ", "  ", "\n", "\t \r", " A ", "É", "e\u0301", "ﬁ", "Å", "İ", "ΑΣ", "①", "\u00a0", "\u2028x", "", "\u0301", "Straße", "Ⅷ"]
    expected = [NORMALIZER.normalize_str(text) for text in given]
    assert_same(given, expected, probe(DATA / "smol.json", "canonical-text", given), "canonical text")


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_joined_as_the_package_would(name):
    package = tokenizers.Tokenizer.from_file(str(DATA / f"{name}.json"))
    [found] = probe(DATA / f"{name}.json", "canonical", [])
    known, expected = {}, []
    for token in range(len(found)):
        text = package.decode([token], skip_special_tokens=False) if package.id_to_token(token) is not None else "\ufffd"
        key = ("alone", token) if "\ufffd" in text else NORMALIZER.normalize_str(text) or text
        expected.append(known.setdefault(key, len(known)))
    assert found == expected
    assert len(known) < 0.95 * len(found)  # something is joined
