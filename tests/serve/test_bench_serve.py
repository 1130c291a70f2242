# SPDX-License-Identifier: Apache-2.0
"""braid bench serve: its counts are the server's, its figures follow from what it timed, and failed requests are told."""

import json

import pytest
from serve_run import braid_serve_bench, fetch, make_model, serving


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def lines_of(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_server_of_its_own_is_loaded_measured_and_ended(model):
    lines = lines_of(braid_serve_bench(model, "--streams", "1,3", "--requests", 2, "--prompt-tokens", 9, "--tokens", 5, "--json",
                                       "--", "--device", "cpu", "--precision", "bf16", "--speculate", "ngram"))  # fmt: skip
    for line, streams in zip(lines, (1, 3), strict=True):
        assert (line["model"], line["streams"], line["requests"], line["failed"], line["problem"]) == ("tiny", streams, 2 * streams, 0, None)
        assert (line["prompt_tokens"], line["tokens"]) == (9 * 2 * streams, 5 * 2 * streams)
        assert line["tokens_per_second"] == pytest.approx(line["tokens"] / line["seconds"])
        assert line["requests_per_second"] == pytest.approx(line["requests"] / line["seconds"])
        for name in ("first_token_seconds", "request_seconds"):
            assert 0 < line[name]["p50"] <= line[name]["p90"] <= line[name]["p99"] <= line["seconds"]
        memory = line["memory_bytes"]
        assert set(memory) == {"weights", "cache", "workspace", "peak"} and memory["peak"] > memory["weights"] + memory["cache"] > 0
        assert line["steps"] >= 5 and 1 <= line["tokens_per_step"] and line["accepted_tokens"] <= line["proposed_tokens"]
        assert line["read_share"] is None  # so small a model lies in the caches
        assert line["load_seconds"] > 0 and line["first_request_seconds"] > 0


def test_a_running_server_is_asked_by_its_url(model):
    with serving(model, "--running", 2) as server:
        done = braid_serve_bench("--url", server.url(), "--streams", "2", "--requests", 1, "--prompt-tokens", 7, "--tokens", 4)
        assert done.returncode == 0, done.stderr
        head, names, row = done.stdout.splitlines()
        assert head.startswith("tiny; first request ") and "prompts of 7 tokens, answers of 4" in head
        assert row.split()[:3] == ["2", "2", "0"]
        assert "braid_generated_tokens_total 12\n" in fetch(server.url() + "/metrics")
        assert server.end() == 0


def test_requests_that_fail_are_counted_and_told(model, tmp_path):
    with serving(model, "--running", 1, "--queue", 0) as server:
        done = braid_serve_bench("--url", server.url(), "--streams", "1,3", "--requests", 1, "--prompt-tokens", 7, "--tokens", 60, "--json")
        alone, beside = map(json.loads, done.stdout.splitlines())
        assert alone["failed"] == 0 and 1 <= beside["failed"] <= 2 and beside["tokens"] == 60 * (3 - beside["failed"])
        assert done.returncode == 1 and "status 429" in beside["problem"] and "braid: a request failed: status 429" in done.stderr


@pytest.mark.parametrize("words, message", [
    ((), "expected MODEL or --url URL, one of both"),
    (("--url", "nowhere"), "--url nowhere: expected http://HOST:PORT/PATH"),
    (("--url", "http://h", "--", "--running", "2"), "with --url nothing follows --"),
    (("m", "--streams", "1,0"), "--streams: expected numbers from 1, found \"0\""),
    (("m", "--tokens", 0), "--tokens 0: expected 1 or more"),
])  # fmt: skip
def test_wrong_use_is_one_line(words, message):
    done = braid_serve_bench(*words)
    assert done.returncode == 2 and done.stdout == "" and message in done.stderr and done.stderr.count("\n") == 1


def test_a_server_that_does_not_start_is_told_once(tmp_path):
    done = braid_serve_bench(tmp_path / "none")
    assert done.returncode == 2 and "none" in done.stderr and "the server did not take that" in done.stderr
