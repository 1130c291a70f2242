# SPDX-License-Identifier: Apache-2.0
"""One model cut over ranks: answers as one rank gives them, each rank with its share of the memory, one end for all."""

import concurrent.futures
import json
import signal

import pytest
from serve_run import BRAID, Server, fetch, make_folder, make_model, serving

from cli_run import braid, one_line, sets  # isort: skip (serve_run finds it)

RANKS = 3  # the vocabulary does not divide by it
MPIRUN = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", RANKS]
ASKED = [{"temperature": 0}, {"temperature": 0.9, "seed": 5, "n": 3}, {"temperature": 0, "frequency_penalty": 0.5, "logprobs": 2},
         {"temperature": 0, "prompt": list(range(1, 60))}, {"temperature": 0.6, "seed": 1, "top_p": 0.9}]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny", intermediate_size=90)


def complete(url, options):
    return json.loads(fetch(url + "/v1/completions", {"prompt": [5, 6, 7, 5, 6, 7], "max_tokens": 24} | options))["choices"]


def texts(choices):
    return [choice["text"] for choice in choices]


def metric(url, name):
    return next(float(line.split()[1]) for line in fetch(url + "/metrics").splitlines() if line.startswith(name + " "))


def memory(url, kind):
    return metric(url, f'braid_memory_bytes{{kind="{kind}"}}')


def test_ranks_together_answer_as_one_with_a_draft_on_the_first(model):
    with serving(model) as alone:
        expected = [complete(alone.url(), options) for options in ASKED]
        whole = {kind: memory(alone.url(), kind) for kind in ("weights", "cache")}
        assert alone.end() == 0
    draft = ["--speculate", "draft", "--draft", model]  # never wrong
    ranks = Server(*MPIRUN, BRAID, "serve", model, "--tensor", RANKS, "--port", 0, "--device", "cpu", *draft)
    try:
        url = ranks.url()
        with concurrent.futures.ThreadPoolExecutor(len(ASKED)) as pool:
            found = list(pool.map(lambda options: complete(url, options), ASKED))
        assert [texts(choices) for choices in found] == [texts(choices) for choices in expected]
        logprobs = [choices[0]["logprobs"]["token_logprobs"] for choices in (found[2], expected[2])]
        assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-4)
        assert metric(url, "braid_accepted_tokens_total") > 0
        assert memory(url, "cache") == whole["cache"] / RANKS + whole["cache"]
        assert memory(url, "weights") < 0.4 * whole["weights"] + whole["weights"]  # norms are whole on each
        assert ranks.end(signal.SIGUSR1) == 0  # mpirun passes it on
        assert ranks.lines[-1] == "stopped"
    finally:
        ranks.process.kill()


def adapter_of(model, folder):
    """peft's, on projections that are cut by their outputs and by their inputs."""
    pytest.importorskip("peft", reason="peft is not installed: launch/setup --test-packages")
    from hf_models import load
    from test_lora import ALL, make_adapter

    make_adapter(load(model), folder, r=4, lora_alpha=8, target_modules=ALL)
    return folder


def run_of(model, folder, *changes):
    """A run of two steps, on the model or, with a hash memory, from nothing."""
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    shape = ["model.layers=2", "model.width=36", "model.heads=9", "model.kv_heads=3", "model.mlp_width=90", f"model.vocabulary={vocabulary}",
             "memory.layers=[1]", "memory.table_size=50", "memory.width=16", "memory.heads=2", "memory.trains_model=true",
             "optim.learning_rate=0.05"]  # fmt: skip
    words = ["model.dialect=llama", "model.context=64", "data.kind=copy", "train.batch=2", "train.steps=2", *(changes or shape)]
    (folder / "c.toml").write_text("")
    done = braid("train", folder / "c.toml", "--out", folder / "run", "--device", "cpu", *sets(words))
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.parametrize("kind", ["an adapter", "a run with a memory", "a run's adapters"])
def test_ranks_answer_by_what_was_trained(model, tmp_path, kind):
    if kind == "an adapter":
        words = [model, "--adapter", adapter_of(model, tmp_path / "adapter")]
    elif kind == "a run with a memory":
        words = [f"--run={run_of(model, tmp_path)}", "--tokenizer", model / "tokenizer.json"]
    else:
        words = [f"--run={run_of(model, tmp_path, f'model.path={model}', 'lora.rank=4', 'optim.learning_rate=0.05')}"]
    asked = {"temperature": 0, "logprobs": 2}
    with serving(*words) as alone:
        expected = complete(alone.url(), asked)[0]
    ranks = Server(*MPIRUN, BRAID, "serve", *words, "--tensor", RANKS, "--port", 0, "--device", "cpu")
    try:
        found = complete(ranks.url(), asked)[0]
    finally:
        ranks.end(signal.SIGUSR1)
    assert found["text"] == expected["text"]
    assert found["logprobs"]["token_logprobs"] == pytest.approx(expected["logprobs"]["token_logprobs"], abs=1e-4)


def test_what_cannot_be_cut_is_one_line(model, tmp_path):
    other = make_folder(tmp_path / "other", num_hidden_layers=1)
    serve = ["serve", model, "--port", 0, "--device", "cpu", "--tensor"]
    for ranks, words, problem in [
        (0, [2], "--tensor 2: expected as many ranks, found 1"),
        (2, [1], "--tensor 1: expected as many ranks, found 2"),
        (2, [2], "9 heads cannot be shared evenly by 2 ranks"),
        (0, [3, "--replicas", 2], "--tensor and several replicas"),
        (3, [3, "--speculate", "draft", "--draft", other], "expected the same vocabulary"),
        (3, [3, "--memory", model], "memory_config.json"),
    ]:
        done = braid(*serve, *words, ranks=ranks)
        done.stdout = ""  # that it listens, and loads
        assert problem in one_line(done, 2), words
