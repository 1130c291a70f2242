# SPDX-License-Identifier: Apache-2.0
"""The page at /, in a browser: it finds its server, tells what is served, and has a name for everything one can use."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import time

import pytest
from serve_run import fetch, make_model, serving

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(make_model(tmp_path_factory.mktemp("models") / "tiny")) as server:
        yield server.url()


def test_everything_one_can_use_has_a_name(url):
    page = fetch(url + "/")
    used = re.findall(r'<(?:textarea|input|select)[^>]*id="(\w+)"', page)
    assert len(used) >= 6
    assert set(used) == set(re.findall(r'<label for="(\w+)"', page))
    assert "http://" not in page and "https://" not in page


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_what_is_served(url, tmp_path, scheme):
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--virtual-time-budget=4000",
             "--blink-settings=preferredColorScheme=" + ("0" if scheme == "dark" else "1"), "--enable-logging=stderr", "--dump-dom", url]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert '<span id="model">tiny</span>' in done.stdout, done.stderr
    assert '<dd id="status">healthy</dd>' in done.stdout and '<dd id="running">0</dd>' in done.stdout
    assert "Uncaught" not in done.stderr and "Refused to" not in done.stderr


class Browser:
    """A page in headless Chromium, asked over DevTools' pipe: descriptors 3 and 4, a JSON message and a zero byte each."""

    def __init__(self, url, folder):
        theirs, self.to, self.said, back = *os.pipe(), *os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs, back)]
        words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        place = lambda: [os.dup2(one, number) for one, number in zip(high, (3, 4))]  # noqa: E731
        self.process = subprocess.Popen(words, pass_fds=(3, 4), preexec_fn=place, stderr=subprocess.DEVNULL)
        for one in (theirs, back, *high):
            os.close(one)
        self.unread, self.sent = b"", 0
        target = self.ask("Target.createTarget", url=url)["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def ask(self, method, session=None, **params):
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.unread:
                more = os.read(self.said, 1 << 16)
                assert more, "the browser has ended"
                self.unread += more
            one, self.unread = self.unread.split(b"\0", 1)
            answer = json.loads(one)
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script):
        found = self.ask("Runtime.evaluate", self.session, expression=script, awaitPromise=True, returnByValue=True, timeout=60000)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def close(self):
        self.ask("Browser.close")
        self.process.wait(20)
        os.close(self.to), os.close(self.said)


ASK = """new Promise(done => {
  const at = id => document.getElementById(id);
  at("prompt").value = "Once upon"; at("tokens").value = 12; at("temperature").value = 0;
  at("ask").click();
  const wait = () => at("ask").disabled || !at("answer").textContent ? setTimeout(wait, 50) : done(at("answer").textContent);
  setTimeout(wait, 50);
})"""


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_what_is_asked_in_a_browser_is_answered_as_over_the_api(url, tmp_path):
    body = {"prompt": "Once upon", "max_tokens": 12, "temperature": 0, "top_p": 0.95}
    expected = json.loads(fetch(url + "/v1/completions", body))["choices"][0]["text"]
    browser = Browser(url, tmp_path)
    try:
        until = time.monotonic() + 60
        while browser.run('document.getElementById("status")?.textContent') != "healthy":
            assert time.monotonic() < until
            time.sleep(0.1)
        answer = browser.run(ASK)
    finally:
        browser.close()
    assert answer.strip() and answer.replace("Once upon", "", 1).strip() == expected.strip()
