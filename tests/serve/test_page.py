# SPDX-License-Identifier: Apache-2.0
"""The page at /, in a browser: it finds its server, tells what is served, and has a name for everything one can use."""

import re
import shutil
import subprocess

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
