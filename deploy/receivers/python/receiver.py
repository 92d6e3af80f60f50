"""Receives visavis's webhooks: checks the signature, answers at once, and does each event once.

Needs the package `standardwebhooks` (see requirements.txt), and in the environment WEBHOOK_SECRET, which visavis showed
when the endpoint was made; PORT, 0 for any.
"""

import http.server
import os

from standardwebhooks import Webhook, WebhookVerificationError

# A thin event has a few hundred bytes; whoever sends more is not visavis.
MAX_BODY = 64 * 1024

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
done = set()  # In real life a table with a UNIQUE column: an event may come more than once.


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if not 0 <= length <= MAX_BODY:
            return self.answer(413)
        body = self.rfile.read(length)
        try:
            event = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            return self.answer(400)
        if self.headers["webhook-id"] not in done:
            done.add(self.headers["webhook-id"])
            # Here the work begins: put it into a queue of your own. What takes long must not keep visavis waiting.
            print(event["type"], event["data"].get("id", ""), flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
