"""A provider of summaries on the loopback: it limits its callers, and now and then it breaks, as real ones do.

POST / with {"text": …} answers {"summary": …, "input_tokens": …, "output_tokens": …}. After its first WARM answers
it says 429 for THROTTLED_S seconds, then 503 for BROKEN_S, and then it serves. A text beyond MAX_CHARS is refused: 413.
Where it listens is written to the file `wire.url`.
"""

import json
import os
import re
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WARM = 4
THROTTLED_S = 2.0
BROKEN_S = 1.5
MAX_CHARS = 60_000
SENTENCES = 2
COMMON = """the of and to a in is that for it as with be on are by this or an from can not at you if your which will
has have when all any its may into was but one such they use used using more no other than these also"""
STOP = frozenset(COMMON.split())
MARKUP = tuple("<>.:|![#=-*+")  # lines that begin so are no prose


def summarize(text):
    """Return the sentences that hold most of the words a text uses most, in their order (Luhn, 1958)."""
    prose = "\n".join("" if line.startswith(MARKUP) else line for line in text.splitlines())
    sentences = [" ".join(part.split()) for part in re.split(r"(?<=[.!?])\s+|\n\s*\n", prose)]
    sentences = [part for part in sentences if 40 <= len(part) <= 300 and part[-1] in ".!?" and part[0].isalpha()]
    counts = Counter(word for word in re.findall(r"[a-z]{2,}", text.lower()) if word not in STOP)

    def weight(sentence):
        words = re.findall(r"[a-z]{2,}", sentence.lower())
        return sum(counts[word] for word in words) / (len(words) + 5)

    best = sorted(dict.fromkeys(sentences), key=weight, reverse=True)[:SENTENCES]
    return " ".join(sorted(best, key=sentences.index)) or " ".join(text.split())[:200]


class Weather:
    """How the provider feels: fine, throttled, broken, and fine again."""

    def __init__(self):
        self._lock = threading.Lock()
        self._served = 0
        self._bad_since = None

    def status(self):
        """Return the status to answer with, and the seconds until it gets better."""
        with self._lock:
            now = time.monotonic()
            if self._bad_since is None:
                self._served += 1
                if self._served > WARM:
                    self._bad_since = now
                else:
                    return 200, 0
            passed = now - self._bad_since
            if passed < THROTTLED_S:
                return 429, max(1, round(THROTTLED_S - passed))
            return (503, 0) if passed < THROTTLED_S + BROKEN_S else (200, 0)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    weather = Weather()

    def do_GET(self):
        """Say that the server runs: the fleet's probe asks."""
        self.answer(200, {"ok": True})

    def do_POST(self):
        """Summarize a text, in good weather."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if len(asked["text"]) > MAX_CHARS:
            self.answer(413, {"error": f"more than {MAX_CHARS:,} characters"})
            return
        status, after = self.weather.status()
        if status != 200:
            self.answer(status, {"error": "too many requests" if status == 429 else "we are down"}, after)
            return
        summary = summarize(asked["text"])
        used = {"input_tokens": len(asked["text"]) // 4, "output_tokens": len(summary) // 4}
        self.answer(200, {"summary": summary, **used})

    def answer(self, status, value, after=0):
        """Send one JSON answer."""
        body = json.dumps(value).encode()
        self.send_response(status)
        if after:
            self.send_header("Retry-After", str(after))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, form, *values):
        """Keep the log short: what was asked and what was answered."""
        print(form % values, flush=True)


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with open("wire.url.new", "w", encoding="utf-8") as file:
        file.write(f"http://127.0.0.1:{server.server_port}/\n")
    os.replace("wire.url.new", "wire.url")
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
