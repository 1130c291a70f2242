# SPDX-License-Identifier: Apache-2.0
"""How braid generate chooses tokens and cuts texts, beside transformers' own processors of logits and its model."""

import json
import math
import shutil

import pytest

pytest.importorskip("transformers", reason="compares with transformers: pip install transformers==5.24.0 into .deps/venv")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: launch/setup --test-packages")

import torch  # noqa: E402
from engram_pairs import TOKENIZER, make_places  # noqa: E402
from hf_models import braid, greedy, load, words  # noqa: E402
from probe_files import run  # noqa: E402
from transformers.generation import logits_process as theirs  # noqa: E402

RANDOM = torch.Generator().manual_seed(3)


def uniform(*shape):
    return torch.rand(shape, generator=RANDOM, dtype=torch.float64)


def filtered(logits, temperature, top_k, top_p, min_p, *_):
    """Scores of one row after transformers' warpers, in the order in which its generate has them."""
    scores = theirs.TemperatureLogitsWarper(float(temperature))(None, logits[None])
    if top_k > 0:
        scores = theirs.TopKLogitsWarper(int(top_k))(None, scores)
    if top_p < 1:
        scores = theirs.TopPLogitsWarper(float(top_p))(None, scores)
    if min_p > 0:
        scores = theirs.MinPLogitsWarper(float(min_p))(None, scores)
    return scores[0]


def test_filters_keep_what_transformers_keeps(tmp_path):
    rows, vocabulary = 600, 53
    logits = 3 * torch.randn(rows, vocabulary, generator=RANDOM)
    draws = torch.stack([0.3 + 2 * uniform(rows), torch.zeros(rows), torch.ones(rows), torch.zeros(rows), uniform(rows)], 1)
    draws[:400:2, 1] = torch.randint(1, 70, (200,), generator=RANDOM).double()
    draws[100:600:3, 2] = uniform(167)
    draws[200:600:5, 3] = uniform(80) ** 2
    logits[400:500] = logits[400:500].round()  # many are equal
    draws[400:500, 1:4] = torch.tensor([5.0, 1.0, 0.2], dtype=torch.float64)
    found = run("sampler_probe", "filter", {"logits": logits, "draws": draws}, tmp_path)["chances"]
    sizes = set()
    for r in range(rows):
        scores = filtered(logits[r], *draws[r].tolist())
        sizes.add(int(scores.isfinite().sum()))
        drawable = scores > scores.max() - 42 * math.log(2)  # less likely ones have no chance here
        assert torch.equal(found[r] > 0, drawable), (r, draws[r])
        torch.testing.assert_close(found[r] / found[r].sum(), scores.softmax(-1), rtol=2e-5, atol=1e-9, check_dtype=False)
    assert min(sizes) == 1 and len(sizes) > 30


def test_penalties_give_the_logits_of_transformers_and_of_openais_formula(tmp_path):
    rows, vocabulary = 40, 61
    logits = 4 * torch.randn(rows, vocabulary, generator=RANDOM)
    prompt, answer = (torch.randint(0, vocabulary, (rows, n), generator=RANDOM) for n in (7, 30))
    answer[::2] %= 5  # tokens that come often
    penalties = torch.stack([0.7 + uniform(rows), 4 * uniform(rows) - 2, 4 * uniform(rows) - 2], 1)
    penalties[:10, 1:] = 0
    penalties[10:20, 0] = 1
    given = {"logits": logits, "penalties": penalties, "prompt": prompt, "answer": answer}
    found = run("sampler_probe", "penalise", given, tmp_path)["penalised"]
    for r in range(rows):
        repetition, presence, frequency = penalties[r].tolist()
        expected = theirs.RepetitionPenaltyLogitsProcessor(repetition)(torch.cat([prompt[r], answer[r]])[None], logits[r][None])[0]
        counts = torch.bincount(answer[r], minlength=vocabulary)
        expected = expected - frequency * counts - presence * (counts > 0)
        torch.testing.assert_close(found[r], expected, rtol=1e-6, atol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = make_places(tmp_path_factory.mktemp("places")) / "model"
    (path / "generation_config.json").write_text("{}")
    return path


def answered(folder, *options):
    """The lines of JSON that braid generate prints."""
    done = braid("generate", "--model", folder, "--device", "cpu", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_sampled_tokens_are_of_what_transformers_keeps_and_logprobs_are_its_models(folder):
    model, prompts = load(folder), [[5, 17, 80], [1, 2, 3, 4, 9]]
    options = ["--temperature", 1.5, "--top-k", 30, "--top-p", 0.9, "--repetition-penalty", 1.3, "--seed", 5, "--logprobs", 4, "--max-new-tokens", 12]
    lines = answered(folder, *words(prompts), "--n", 3, *options)
    assert [line["prompt"] for line in lines] == [0, 1] and [line["prompt_tokens"] for line in lines] == [3, 5]
    for prompt, line in zip(prompts, lines, strict=True):
        assert line["seed"] == 5 and len({tuple(a["tokens"]) for a in line["answers"]}) == 3
        for answer in line["answers"]:
            assert answer["finish_reason"] == "length" and answer["stop"] is None and len(answer["tokens"]) == 12
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer["tokens"]])).logits[0, len(prompt) - 1 :]
            for step, token in enumerate(answer["tokens"]):
                seen = torch.tensor([prompt + answer["tokens"][:step]])
                kept = filtered(theirs.RepetitionPenaltyLogitsProcessor(1.3)(seen, logits[step][None])[0], 1.5, 30, 0.9, 0)
                assert kept[token].isfinite()
                told, expected = answer["logprobs"][step], logits[step].log_softmax(-1)
                assert told["id"] == token and told["logprob"] == pytest.approx(expected[token].item(), abs=1e-4)
                best = expected.topk(4)
                assert [t["id"] for t in told["top"]] == best.indices.tolist()
                assert [t["logprob"] for t in told["top"]] == pytest.approx(best.values.tolist(), abs=1e-4)
    alone = answered(folder, *words(prompts[1:]), *options)
    assert alone[0]["answers"][0]["tokens"] == lines[1]["answers"][0]["tokens"]  # whatever else was in the batch


def test_texts_end_before_a_stop_string_and_pieces_join_to_them(folder):
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    ask = ["--prompt", "Q: Port", "--temperature", 1, "--seed", 9, "--max-new-tokens", 40]
    free = answered(folder, *ask)[0]["answers"][0]
    text = free["text"]
    assert text == tokenizer.decode(free["tokens"]) and "logprobs" not in free
    borders = [len(tokenizer.decode(free["tokens"][:n])) for n in range(1, 40)]
    cut = next(b for b in borders[12:] if text[b - 2 : b + 2].isascii() and len(text[b - 2 : b + 2]) == 4)
    stop = text[cut - 2 : cut + 2]  # over the border of two tokens
    wanted = text[: text.index(stop)]
    *pieces, last = answered(folder, *ask, "--stop", "no such text", "--stop", stop, "--stream")
    answer = last["answers"][0]
    assert (answer["text"], answer["finish_reason"], answer["stop"]) == (wanted, "stop", stop)
    assert "".join(piece["text"] for piece in pieces) == wanted
    assert [piece["id"] for piece in pieces] == answer["tokens"] == free["tokens"][: len(answer["tokens"])]
    plain = braid("generate", "--model", folder, "--device", "cpu", *ask, "--stop", stop)
    assert plain.stdout == wanted + "\n"


def test_the_folder_says_how_to_sample_unless_an_option_does(folder, tmp_path):
    path, prompt = tmp_path / "model", [5, 17, 80]
    shutil.copytree(folder, path)
    ids = words([prompt]) + ["--max-new-tokens", 16]
    expected = greedy(load(folder), prompt, 16)

    def tokens(generation, *options):
        (path / "generation_config.json").write_text(json.dumps(generation))
        line = answered(path, *ids, *options)[0]
        return line["answers"][0]["tokens"], line["seed"]

    sampling = {"do_sample": True, "temperature": 5.0, "top_p": 0.9}
    assert tokens(sampling, "--temperature", 0) == (expected, None)
    drawn = tokens({}, "--temperature", 5, "--top-k", 50, "--top-p", 0.9, "--seed", 11)
    assert drawn[0] != expected and drawn[1] == 11
    assert tokens(sampling, "--seed", 11) == drawn  # and a top_k of 50
    other = tokens(sampling)
    assert other[1] != 11 and tokens(sampling, "--seed", other[1]) == other
    (path / "generation_config.json").write_text('{"temperature": 0.5, "top_p": 0.5, "num_beams": 3}')
    done = braid("generate", "--model", path, "--device", "cpu", *ids)
    assert done.stdout == ",".join(map(str, expected)) + "\n"
    assert done.stderr == f"braid: {path}/generation_config.json: num_beams is not built and is left out\n"
