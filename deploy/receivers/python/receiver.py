"""Receives the webhooks of visavis: checks the signature, answers at once, and handles each event once.

It needs the package `standardwebhooks` (see requirements.txt) and, in the environment, WEBHOOK_SECRET: visavis showed it
when the endpoint was created. PORT is 3000 by default; 0 means any free port.
"""

import http.server
import os
import sys

from standardwebhooks import Webhook, WebhookVerificationError

# An event has a few hundred bytes. A larger body does not come from visavis.
MAX_BODY = 64 * 1024

try:
    webhook = Webhook(os.environ.get("WEBHOOK_SECRET", ""))
except Exception:  # The library has no common class for the faults of a secret.
    print(
        "WEBHOOK_SECRET is missing or malformed: set it to the whsec_... that visavis showed for this endpoint",
        file=sys.stderr,
    )
    sys.exit(2)
# In production use a table with a UNIQUE column: an event may come more than once.
done = set()


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
            # The work begins here. Put the event into a queue of your own: visavis must not wait for long work.
            print(self.headers["webhook-id"], event["type"], event["data"].get("id", ""), flush=True)
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
