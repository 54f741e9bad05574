#!/usr/bin/env python3
"""Stream completions from a server to many clients at once, and say how fast that went.

    clients.py URL [--clients 16] [--prompt 64] [--new 128] [--model NAME] [--key KEY]

Works with every server that has /v1/completions and takes token ids: polynode, llama-server. Prompts are random token
ids, all different; decoding is greedy and runs past the end of text, so that each client gets the same number of tokens.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
import urllib.parse


def stream(options, prompt, start, result):
    """Run one client; put the times of its events, in seconds since start, into result."""
    body = {"prompt": prompt, "max_tokens": options.new, "temperature": 0, "ignore_eos": True, "stream": True}
    headers = {"Content-Type": "application/json"}
    if options.model:
        body["model"] = options.model
    if options.key:
        headers["Authorization"] = "Bearer " + options.key
    url = urllib.parse.urlparse(options.url)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    if response.status != 200:
        result["error"] = f"status {response.status}: {response.read()[:300]!r}"
        return
    for line in response:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data == b"[DONE]":
            continue
        for choice in json.loads(data).get("choices") or []:
            result["times"].append(time.monotonic() - start)
            result["finish"] = choice.get("finish_reason") or result["finish"]


def quantile(ordered, q):
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--model")
    parser.add_argument("--key")
    options = parser.parse_args()

    results = [{"times": [], "finish": None, "error": None} for _ in range(options.clients)]
    prompts = [[random.randrange(300, 250000) for _ in range(options.prompt)] for _ in results]
    start = time.monotonic()
    threads = [threading.Thread(target=stream, args=(options, p, start, r)) for p, r in zip(prompts, results)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - start

    # An event can hold more than one token, and ik_llama.cpp always says "stop".
    failed = [r["error"] or r["finish"] for r in results if not r["finish"] or len(r["times"]) < options.new / 2]
    if failed:
        sys.exit(f"{len(failed)} of {options.clients} clients did not get all tokens; the first: {failed[0]}")
    first = sorted(r["times"][0] for r in results)
    gaps = sorted(b - a for r in results for a, b in zip(r["times"], r["times"][1:])) or [0]
    print(
        f"{options.clients} clients: {options.clients * options.new / wall:.1f} tokens/s together; "
        f"first token p50 {quantile(first, 0.5):.2f} s, last {first[-1]:.2f} s; "
        f"between tokens p50 {1e3 * quantile(gaps, 0.5):.0f} ms, p99 {1e3 * quantile(gaps, 0.99):.0f} ms"
    )


if __name__ == "__main__":
    main()
