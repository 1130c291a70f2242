# SPDX-License-Identifier: Apache-2.0
"""A model folder of the user's own, for example SmolLM-135M, by Braid and by transformers: logits and 64 greedy tokens."""

import os
import pathlib

import pytest

pytest.importorskip("transformers", reason="compares with transformers: pip install transformers==5.24.0 into .deps/venv")

import torch  # noqa: E402
from hf_models import generated, greedy, load, probe, random_ids  # noqa: E402

MODEL = os.environ.get("BRAID_TEST_MODEL")
pytestmark = pytest.mark.skipif(not MODEL, reason="set BRAID_TEST_MODEL=DIR, a Hugging Face folder of a Llama with safetensors")


@pytest.fixture(scope="module")
def model():
    return load(pathlib.Path(MODEL))


def test_logits(model, tmp_path):
    ids = random_ids(model, 1, 64)
    with torch.no_grad():
        theirs = model(ids).logits
    assert (probe(MODEL, ids, tmp_path / "probe.safetensors")["logits"] - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_64_greedy_tokens(model):
    prompts = [random_ids(model, 1, tokens, seed=tokens)[0].tolist() for tokens in (3, 17)]
    assert generated(MODEL, prompts, 64) == [greedy(model, prompt, 64) for prompt in prompts]
