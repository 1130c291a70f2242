# SPDX-License-Identifier: Apache-2.0
"""--speculate of braid serve and braid generate: answers as without, accepted tokens counted, a wrong draft refused."""

import json
import re

import pytest
from serve_run import TOKENIZER, fetch, make_model, serving

from hf_models import TINY, braid, greedy, load, make_folder, one_line  # isort: skip (serve_run finds it)

PROMPT = "one two three one two three one two"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return make_model(folder / "tiny"), make_model(folder / "draft", seed=1, num_hidden_layers=1)


def complete(url, **options):
    return json.loads(fetch(url + "/v1/completions", {"model": "tiny", "prompt": PROMPT, "max_tokens": 48} | options))["choices"]


def metric(url, name):
    return next(float(line.split()[1]) for line in fetch(url + "/metrics").splitlines() if line.startswith(name + " "))


@pytest.mark.parametrize("proposer", ["ngram", "draft"])
def test_a_server_answers_as_without(models, proposer):
    tiny, _ = models
    asked = [{"temperature": 0}, {"temperature": 0.9, "seed": 5, "n": 3}, {"temperature": 0.5, "seed": 1, "logprobs": 1},
             {"temperature": 0, "presence_penalty": 0.4, "stop": ["e"]}, {"temperature": 0, "frequency_penalty": -2}]  # fmt: skip
    with serving(tiny) as plain:
        expected = [complete(plain.url(), **options) for options in asked]
        assert metric(plain.url(), "braid_proposed_tokens_total") == 0
        assert plain.end() == 0
    own = ["--draft", tiny] if proposer == "draft" else []  # the model itself is never wrong
    with serving(tiny, "--speculate", proposer, *own, "--speculate-tokens", 3) as server:
        assert [complete(server.url(), **options) for options in asked] == expected
        assert 0 < metric(server.url(), "braid_accepted_tokens_total") <= metric(server.url(), "braid_proposed_tokens_total")
        assert server.end() == 0


def generate(model, *words):
    done = braid("generate", model, "--device", "cpu", "--json", "--max-new-tokens", 60, *words, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_generate_answers_as_transformers_and_as_without(models):
    tiny, draft = models
    ids = [1, 2, 3, 1, 2, 3, 1, 2]
    words = ["--ids", ",".join(map(str, ids))]
    for speculation in (["ngram"], ["draft", "--draft", draft]):
        told, timings = generate(tiny, *words, "--temperature", 0, "--speculate", *speculation, "--timings")
        assert told["answers"][0]["tokens"] == greedy(load(tiny), ids, 60)
        assert "tokens were proposed" in timings
        again, timings = generate(tiny, *words, "--temperature", 0, "--frequency-penalty", -2, "--speculate", *speculation, "--timings")
        assert again == generate(tiny, *words, "--temperature", 0, "--frequency-penalty", -2)[0]
        proposed, accepted = map(int, re.findall(r"(\d+) tokens were proposed, (\d+) of them accepted", timings)[0])
        assert 0 < accepted <= proposed or speculation[0] == "draft"
        drawn = ["--temperature", 0.8, "--seed", 3, "--n", 2]
        assert generate(tiny, *words, *drawn, "--speculate", *speculation) == generate(tiny, *words, *drawn)


def test_wrong_drafts_are_refused_in_one_line(models, tmp_path):
    tiny, draft = models
    ask = lambda *words: one_line(braid("generate", "--model", tiny, "--ids", "1", "--device", "cpu", *words), 2)  # noqa: E731
    assert "expected both or none" in ask("--speculate", "draft")
    assert "expected both or none" in ask("--draft", draft)
    assert "--speculate-tokens 0: expected a whole number from 1 to 64" in ask("--speculate", "ngram", "--speculate-tokens", 0)
    other = make_folder(tmp_path / "other")
    assert f"it has {TINY['vocab_size']} tokens and the model" in ask("--speculate", "draft", "--draft", other)
    moved = make_model(tmp_path / "moved")
    tokenizer = json.loads(TOKENIZER.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    (a, b) = [word for word, number in vocabulary.items() if number in (40, 41)]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (moved / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "token 40 is" in ask("--speculate", "draft", "--draft", moved)
