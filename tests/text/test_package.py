# SPDX-License-Identifier: Apache-2.0
"""Braid's tokenizer against the package tokenizers on 20,000 random texts of each family."""

import os

import pytest
from probe import DATA, PROBE, assert_agrees, assert_same, probe
from random_texts import texts

tokenizers = pytest.importorskip("tokenizers", reason="the package tokenizers is not installed")
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")

FAMILIES = ["smol", "l3", "tiny"]
SEED = int(os.environ.get("BRAID_TEST_SEED", "1"))


def family(name):
    package = tokenizers.Tokenizer.from_file(str(DATA / f"{name}.json"))
    added = [token.content for token in package.get_added_tokens_decoder().values()]
    return package, added


@pytest.mark.parametrize("name", FAMILIES)
def test_ids_and_texts_agree(name):
    package, added = family(name)
    assert_agrees(DATA / f"{name}.json", package, texts(20000, added, SEED))


@pytest.mark.parametrize("name", FAMILIES)
def test_long_words_agree(name):
    """Beyond what is merged without a heap or kept in the cache."""
    package, _ = family(name)
    long = [unit * count for unit in ("a", "ab", "▁", " ", "é", "🦙", "1", ".,", "\n ", "the") for count in (47, 48, 49, 97, 300, 3000)]
    long += ["".join(texts(40, (), seed)) for seed in range(20)]
    assert_agrees(DATA / f"{name}.json", package, long)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_number_of_threads_changes_nothing(name):
    given = texts(3000, (), SEED)
    one = probe(DATA / f"{name}.json", "encode", given, 1)
    for threads in (2, 3, 8):
        assert_same(given, one, probe(DATA / f"{name}.json", "encode", given, threads), f"{threads} threads")
