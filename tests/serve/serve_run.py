# SPDX-License-Identifier: Apache-2.0
"""Starts braid serve on a tiny random model, and ends it."""

import contextlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request

import pytest

pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/parity"), str(ROOT / "tests/cli")]
from cli_run import BRAID, ENVIRONMENT  # noqa: E402
from hf_models import make_folder  # noqa: E402

TOKENIZER = ROOT / "tests/text/data/smol.json"
CHAT_TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
WORKER = pathlib.Path(BRAID).parent / "braid_worker"


def make_model(folder, **shape):
    """Random weights with a tokenizer and a chat template."""
    vocabulary = len(json.loads(TOKENIZER.read_text())["model"]["vocab"]) + 64
    make_folder(folder, vocab_size=vocabulary, eos_token_id=None, **shape)
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    return folder


class Server:
    """What it says is in `lines`, once it has ended in all."""

    def __init__(self, *command, **environment):
        self.process = subprocess.Popen(list(map(str, command)), env=ENVIRONMENT | environment, text=True, bufsize=1,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        self.lines, self.log, self.changed = [], [], threading.Condition()
        self.readers = [threading.Thread(target=self._read, args=pair, daemon=True)
                        for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.log))]  # fmt: skip
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, lines):
        for line in pipe:
            with self.changed:
                lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern, seconds=60):
        """The first group of the first line that has it."""
        def found():
            return next((m for line in self.lines if (m := re.search(pattern, line))), None)
        with self.changed:
            self.changed.wait_for(lambda: found() or not self.readers[0].is_alive(), seconds)
        assert found(), (pattern, self.lines, self.log)
        return found()[1]

    def url(self):
        return self.wait_for(r"^ready on (http://\S+:\d+)$")

    def end(self, number=signal.SIGTERM):
        """Its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        for reader in self.readers:
            reader.join(10)
        return code

    def requests(self):
        """The log's lines."""
        return [json.loads(line) for line in self.log if line.startswith("{")]


@contextlib.contextmanager
def serving(model, *options, **environment):
    server = Server(BRAID, "serve", model, "--port", 0, "--device", "cpu", *options, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def fetch(url, body=None, headers=()):
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, dict(headers))
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read().decode()
