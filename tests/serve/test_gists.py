# SPDX-License-Identifier: Apache-2.0
"""Questions to compressed contexts over HTTP: what braid gist ask answers, many at once."""

import concurrent.futures
import json
import signal
import urllib.error

import pytest
from serve_run import BRAID, ROOT, Server, fetch, serving

from cli_run import braid, one_line, sets  # isort: skip (serve_run finds it)

QUICK = ROOT / "configs/gist/passkey_quick.toml"
# Long enough for answers that depend on the context, right or wrong.
SHORT = ["model.width=32", "model.layers=3", "model.mlp_width=48", "gist.count=2", "gist.segment=16", "gist.overlap=4",
         "gist.eval_answers=4", 'gist.phases=["segments=16 tokens=512 steps=100"]', "train.eval_every=0"]  # fmt: skip
END = 11  # of an answer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and a cache of five of its held-out contexts and of one."""
    out = tmp_path_factory.mktemp("gists") / "run"
    assert braid("train", QUICK, "--out", out, "--device", "cpu", *sets(SHORT)).returncode == 0
    files = {count: out.parent / f"{count}.h5" for count in (5, 1)}
    for count, file in files.items():
        done = braid("gist", "compress", out, "--held-out", count, "--length", 40, "--output", file, "--device", "cpu")
        assert done.returncode == 0, done.stderr
    return out, files


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A character for each of the task's tokens."""
    kind = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    file = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    model = {"type": "BPE", "vocab": {chr(ord("!") + i): i for i in range(79)}, "merges": []}
    file.write_text(json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": kind, "decoder": kind, "model": model}))
    return file


def asked(out, cache, ids, most):
    done = braid("gist", "ask", out, "--cache", cache, "--ids", ",".join(map(str, ids)), "--max-new-tokens", most, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return [list(map(int, line.split(","))) for line in done.stdout.splitlines()]


def complete(url, **body):
    return json.loads(fetch(url + "/v1/completions", {"temperature": 0} | body))


def refusal(url, **body):
    with pytest.raises(urllib.error.HTTPError) as problem:
        complete(url, **body)
    return problem.value.code, json.loads(problem.value.read())["error"]


def test_generate_answers_as_ask_does(made):
    out, files = made
    question, options = "12,3,20", ["--max-new-tokens", 9, "--device", "cpu"]
    expected = asked(out, files[5], [12, 3, 20], 9)
    for context in (1, 4):
        done = braid("generate", "--run", out, "--gists", files[5], "--context", context, "--ids", question, *options)
        assert done.stdout == ",".join(map(str, expected[context])) + "\n", done.stderr
    behind = ["generate", "--run", out, "--ids", question, *options]
    done = braid(*behind, "--gists", files[1])  # no need to say which
    assert done.stdout == ",".join(map(str, asked(out, files[1], [12, 3, 20], 9)[0])) + "\n"
    assert braid(*behind).stdout != done.stdout
    rounded = braid(*behind, "--gists", files[1], "--precision", "bf16")  # the same checkpoint, held in another type
    assert rounded.returncode == 0 and rounded.stdout, rounded.stderr
    assert "has contexts 0 to 4: expected --context I" in one_line(braid(*behind, "--gists", files[5]), 2)
    assert "has contexts 0 to 4" in one_line(braid(*behind, "--gists", files[5], "--context", 5), 2)
    assert "--context: expected with --gists" in one_line(braid(*behind, "--context", 0), 2)
    assert "context of 128" in one_line(braid(*behind[:-4], "--max-new-tokens", 120, "--device", "cpu", "--gists", files[1]), 2)


def test_requests_beside_each_other_get_what_ask_answers(made, tokenizer):
    out, files = made
    questions = [[12], [12, 3, 20], [12] * 19]
    gists = ["--gists", f"five={files[5]}", "--gists", f"one={files[1]}"]
    with serving(f"--run={out}", "--tokenizer", tokenizer, "--name", "keys", "--running", 4, "--step-tokens", 8, *gists) as server:
        url = server.url()
        wanted = [(f"five#{i}", question, answer) for question in questions for i, answer in enumerate(asked(out, files[5], question, 6))]
        wanted += [("one", question, asked(out, files[1], question, 6)[0]) for question in questions]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda w: complete(url, gists=w[0], prompt=w[1], max_tokens=6), wanted))
        for (name, question, answer), reply in zip(wanted, replies):
            ended = answer[-1] == END
            text = json.loads(fetch(url + "/detokenize", {"tokens": answer[:-1] if ended else answer}))["prompt"]
            choice = reply["choices"][0]
            assert choice["text"] == text and choice["finish_reason"] == ("stop" if ended else "length"), (name, question)
            assert reply["usage"]["prompt_tokens"] == len(question)
        assert len({reply["choices"][0]["text"] for reply in replies}) > 2
        plain = complete(url, prompt=[12, 3, 20], max_tokens=6)["choices"][0]["text"]
        assert plain != replies[5]["choices"][0]["text"]
        code, error = refusal(url, gists="five", prompt=[12])
        assert code == 404 and error["code"] == "gists_not_found" and "five" in error["message"]
        code, error = refusal(url, gists="one", prompt=[12], max_tokens=120)
        assert code == 400 and error["code"] == "context_length_exceeded" and "from position 18 on" in error["message"]
        assert refusal(url, gists="one", prompt="What?")[0] == 400  # the run has no tokenizer of its own
        assert server.end() == 0
    ranks = Server("mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", 2, BRAID, "serve", f"--run={out}", "--tokenizer", tokenizer,
                   "--tensor", 2, "--port", 0, "--device", "cpu", "--running", 4, "--step-tokens", 8, "--cache-tokens", 160, *gists)  # fmt: skip
    try:
        url = ranks.url()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            again = list(pool.map(lambda w: complete(url, gists=w[0], prompt=w[1], max_tokens=6), wanted))
        assert [reply["choices"][0]["text"] for reply in again] == [reply["choices"][0]["text"] for reply in replies]
        assert ranks.end(signal.SIGUSR1) == 0
    finally:
        ranks.process.kill()


def test_what_cannot_be_served_is_one_line(made, tokenizer, tmp_path):
    out, files = made
    serve = ["serve", "--run", out, "--tokenizer", tokenizer, "--port", 0, "--device", "cpu"]
    other = tmp_path / "other"
    assert braid("train", QUICK, "--out", other, "--device", "cpu", *sets([*SHORT, "train.seed=3", 'gist.phases=["segments=16 steps=1"]'])).returncode == 0
    for arguments, words in [
        ([*serve, "--gists", files[1]], "expected NAME=FILE"),
        ([*serve, "--gists", f"a={files[1]}", "--gists", f"a={files[5]}"], "the name is there twice"),
        ([*serve, "--gists", f"a={tokenizer}"], "no gist cache, or a damaged one"),
        (["serve", "--run", other, *serve[3:], "--gists", f"a={files[1]}"], "was compressed by weights crc32c:"),
    ]:
        done = braid(*arguments)
        done.stdout = ""  # that it listens, and loads
        assert words in one_line(done, 2), arguments
