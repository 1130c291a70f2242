# SPDX-License-Identifier: Apache-2.0
"""One model cut over ranks: answers as one rank gives them, each rank with its share of the memory, one end for all."""

import concurrent.futures
import json
import signal

import pytest
from serve_run import BRAID, Server, fetch, make_model, serving

from cli_run import braid, one_line  # isort: skip (serve_run finds it)

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


def memory(url, kind):
    name = f'braid_memory_bytes{{kind="{kind}"}} '
    return next(float(line.split()[1]) for line in fetch(url + "/metrics").splitlines() if line.startswith(name))


def test_ranks_together_answer_as_one(model):
    with serving(model) as alone:
        expected = [complete(alone.url(), options) for options in ASKED]
        whole = {kind: memory(alone.url(), kind) for kind in ("weights", "cache")}
        assert alone.end() == 0
    ranks = Server(*MPIRUN, BRAID, "serve", model, "--tensor", RANKS, "--port", 0, "--device", "cpu", "--speculate", "ngram")
    try:
        url = ranks.url()
        with concurrent.futures.ThreadPoolExecutor(len(ASKED)) as pool:
            found = list(pool.map(lambda options: complete(url, options), ASKED))
        assert [texts(choices) for choices in found] == [texts(choices) for choices in expected]
        logprobs = [choices[0]["logprobs"]["token_logprobs"] for choices in (found[2], expected[2])]
        assert logprobs[0] == pytest.approx(logprobs[1], abs=1e-4)
        assert memory(url, "cache") == whole["cache"] / RANKS
        assert memory(url, "weights") < 0.4 * whole["weights"]  # norms are whole on each
        assert ranks.end(signal.SIGUSR1) == 0  # mpirun passes it on
        assert ranks.lines[-1] == "stopped"
    finally:
        ranks.process.kill()


def test_what_cannot_be_cut_is_one_line(model):
    serve = ["serve", model, "--port", 0, "--device", "cpu", "--tensor"]
    for ranks, words, problem in [
        (0, [2], "--tensor 2: expected as many ranks, found 1"),
        (2, [1], "--tensor 1: expected as many ranks, found 2"),
        (2, [2], "9 heads cannot be shared evenly by 2 ranks"),
        (0, [3, "--replicas", 2], "--tensor and several replicas"),
        (0, [3, "--speculate", "draft", "--draft", model], "--tensor and --draft"),
        (2, [2, "--memory", model], "expected a model's folder, without"),
    ]:
        done = braid(*serve, *words, ranks=ranks)
        done.stdout = ""  # that it listens, and loads
        assert problem in one_line(done, 2), words
