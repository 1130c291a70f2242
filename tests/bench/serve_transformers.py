#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""transformers' generate behind OpenAI's completions, the way a short script serves a model: one request after the other,
its tokens sent as they come.

    serve_transformers.py --model DIR [--dtype bf16] [--threads 2] [--device cuda]

Prints the URL once it listens on a free port. Routes: /v1/models, /tokenize, /v1/completions with token ids and `stream`.
"""

import argparse
import http.server
import json
import threading

import torch
from transformers import PreTrainedTokenizerFast
from transformers.generation.streamers import BaseStreamer
from transformers_model import TYPES, load


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", choices=TYPES, default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(namespace=argparse.Namespace(quantise="none"))


class Events(BaseStreamer):
    """An event for each new token."""

    def __init__(self, tell, tokenizer):
        self.tell, self.tokenizer, self.prompt = tell, tokenizer, True

    def put(self, value):
        if not self.prompt:
            self.tell({"choices": [{"index": 0, "text": self.tokenizer.decode(value.tolist())}]})
        self.prompt = False

    def end(self):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def tell(self, event):
        text = event if isinstance(event, str) else json.dumps(event)
        self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def do_GET(self):
        self.reply({"data": [{"id": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            return self.reply({"tokens": self.server.tokenizer.encode(body["prompt"])})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        prompt = torch.tensor([body["prompt"]], device=self.server.model.device)
        with self.server.lock, torch.inference_mode():
            out = self.server.model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=body["max_tokens"],
                                             min_new_tokens=body["max_tokens"], do_sample=False, pad_token_id=0,
                                             streamer=Events(self.tell, self.server.tokenizer))  # fmt: skip
        self.tell({"choices": [], "usage": {"prompt_tokens": prompt.shape[1], "completion_tokens": out.shape[1] - prompt.shape[1]}})
        self.tell("[DONE]")


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.model, server.lock = load(options).eval(), threading.Lock()
    server.tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{options.model}/tokenizer.json")
    print(f"ready on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
