# SPDX-License-Identifier: Apache-2.0
"""The engine's chances of all tokens, over its paged cache, against transformers: prompts and 32 steps after them, read in
pieces or at once, beside others or alone."""

import os
import subprocess

import braid_run
import pytest
import torch
from hf_models import greedy, load, make_folder
from safetensors.torch import load_file

PROBE = os.path.join(os.path.dirname(braid_run.BRAID), "tests", "engine_probe")
VOCABULARY, STEPS = 20, 32  # as many tokens as log-probabilities are told of
PROMPTS = [[3, 17, 5, 5, 9, 0, 11, 2, 14, 7, 19], [1, 2, 3], [8] * 23]

SHAPES = {
    "as many key heads as heads": dict(num_attention_heads=4, num_key_value_heads=4, hidden_size=64),
    "grouped": dict(),
    "one key head, tied, scaled angles": dict(num_attention_heads=6, num_key_value_heads=1, hidden_size=48, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=32)),
}  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    return make_folder(path, vocab_size=VOCABULARY, **SHAPES[request.param])


def told(folder, prompts, step_tokens):
    """Ids [32] and log-probabilities [32, 20] of each prompt's answer."""
    out = folder.parent / "told.safetensors"
    words = [",".join(map(str, prompt)) for prompt in prompts]
    done = subprocess.run([PROBE, str(folder), str(out), str(step_tokens), str(STEPS), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    tensors = load_file(out)
    return [(tensors[f"ids.{i}"].long().tolist(), tensors[f"logprobs.{i}"].float()) for i in range(len(prompts))]


def expected(model, prompt, answer):
    """Of transformers, all at once, for the same tokens."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 : -1], -1)


@pytest.fixture(scope="module")
def together(folder):
    return told(folder, PROMPTS, 256)


def test_chances_are_transformers(folder, together):
    model = load(folder)
    for prompt, (answer, logprobs) in zip(PROMPTS, together):
        assert answer == greedy(model, prompt, STEPS)
        torch.testing.assert_close(logprobs, expected(model, prompt, answer), atol=1e-3, rtol=0)


def test_prompts_in_pieces_and_answers_beside_others_change_nothing(folder, together):
    for (answer, logprobs), (pieces_answer, pieces) in zip(together, told(folder, PROMPTS, 3)):
        assert pieces_answer == answer
        torch.testing.assert_close(pieces, logprobs, atol=1e-4, rtol=0)
    [(answer, alone)] = told(folder, PROMPTS[:1], 256)
    assert answer == together[0][0]
    torch.testing.assert_close(alone, together[0][1], atol=1e-4, rtol=0)
