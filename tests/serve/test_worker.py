# SPDX-License-Identifier: Apache-2.0
"""braid_worker as whoever starts the public worker sees it: options, callback, events, exit codes; and wrong use of both."""

import http.server
import json
import queue
import socket
import threading

import pytest
from serve_run import WORKER, Server, fetch, make_model  # isort: skip (finds the other)
from cli_run import braid, one_line


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def callbacks():
    """A server that takes the callback; its status for each, and what was posted."""
    posted, statuses = queue.Queue(), queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.put((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200 if statuses.empty() else statuses.get())
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.posted, server.statuses = posted, statuses
        yield server
        server.shutdown()


def start(model, callbacks):
    """On a port that is free."""
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        port = one.getsockname()[1]
    url = f"http://127.0.0.1:{callbacks.server_address[1]}/ready?a=1"
    return Server(WORKER, "--worker-id", "w-7", "--model", model, "--port", port, "--callback-url", url), port


def test_it_calls_back_once_ready_and_executes(model, callbacks):
    callbacks.statuses.put(503)  # tried again
    worker, port = start(model, callbacks)
    try:
        first, second = (callbacks.posted.get(timeout=60) for _ in range(2))
        assert first == second and first[0] == "/ready?a=1" and first[1]["worker_id"] == "w-7"
        assert first[1]["uri"].endswith(f":{port}") and first[1]["vram_bytes"] > 1e5
        health = json.loads(fetch(f"http://127.0.0.1:{port}/health"))
        assert set(health) == {"status", "vram_bytes"} and health["status"] == "healthy"
        assert health["vram_bytes"] == pytest.approx(first[1]["vram_bytes"], rel=0.2)  # measured anew
        job = {"job_id": "j", "prompt": "Hello", "max_tokens": 7, "temperature": 0}
        lines = fetch(f"http://127.0.0.1:{port}/execute", job).split("\n\n")[:-1]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert [event["type"] for event in events] == ["started"] + ["token"] * 7 + ["metrics", "end"]
        assert [event["i"] for event in events[1:8]] == list(range(7)) and events[-1]["stop_reason"] == "MAX_TOKENS"
        assert callbacks.posted.empty()
    finally:
        assert worker.end() == 0, worker.log


def test_a_callback_that_nobody_takes_ends_it(model, callbacks):
    for _ in range(9):
        callbacks.statuses.put(500)
    worker, _ = start(model, callbacks)
    assert worker.process.wait(60) == 1
    worker.readers[1].join(10)
    assert [line for line in worker.log if not line.startswith("{")][-1].endswith("/ready?a=1 was not taken in 4 attempts: status 500")


@pytest.mark.parametrize("words, said", [
    ([], "expected --callback-url"),
    (["--worker"], "unknown option --worker"),
    (["--port"], "--port: expected a value"),
    (["--worker-id=a", "--model=b", "--port=1", "--callback-url=http://a", "--cuda-device=x"], "--cuda-device x: expected a number"),
])  # fmt: skip
def test_wrong_use_of_the_worker_is_one_line(words, said):
    worker = Server(WORKER, *words)
    assert worker.process.wait(30) == 2
    worker.readers[1].join(10)
    assert worker.log == [f"braid_worker: {said}"]


@pytest.mark.parametrize("words, said", [
    ([], "expected --model DIR or --run DIR, one of both"),
    (["{none}"], "{none}"),
    (["{model}", "--port", "70000"], "--port 70000: expected a whole number from 0 to 65535"),
    (["{model}", "--running", "0"], "--running 0: expected"),
    (["{model}", "--timeout", "-1"], "--timeout -1: expected seconds"),
    (["{model}", "--api-key-file", "{none}"], "--api-key-file {none}: cannot be read"),
    (["{model}", "--callback-url", "http://a"], "--callback-url and --worker-id: expected both or none"),
    (["{model}", "--callback-url", "ftp://a", "--worker-id", "w"], "--callback-url ftp://a: expected http://HOST:PORT/PATH"),
    (["{model}", "--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid:0"),
    (["{model}", "--log", "{none}/x"], "--log {none}/x: cannot be written"),
])  # fmt: skip
def test_wrong_use_of_serve_is_one_line(model, tmp_path, words, said):
    names = {"model": model, "none": tmp_path / "none"}
    done = braid("serve", "--port", 0, *[word.format(**names) for word in words], "--device", "cpu")
    assert said.format(**names) in one_line(done, 2)
