// Receives the webhooks of visavis: checks the signature, answers at once, and handles each event once.
//
// `npm ci && npm run build && WEBHOOK_SECRET=whsec_... npm start`. visavis showed WEBHOOK_SECRET when the endpoint was
// created. PORT is 3000 by default; 0 means any free port.

import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

type Event = { type: string; timestamp: string; data: { id?: string } };

// An event has a few hundred bytes. A larger body does not come from visavis.
const MAX_BODY = 64 * 1024;

const webhook = open(process.env.WEBHOOK_SECRET ?? "");
// In production use a table with a UNIQUE column: an event may come more than once.
const done = new Set<string>();

function open(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch {
    console.error(
      "WEBHOOK_SECRET is missing or malformed: set it to the whsec_... that visavis showed for this endpoint",
    );
    process.exit(2);
  }
}

async function read(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function receive(request: IncomingMessage): Promise<number> {
  const body = await read(request);
  if (body === undefined) return 413;
  let event: Event;
  try {
    event = webhook.verify(body, request.headers as Record<string, string>) as Event;
  } catch {
    return 400;
  }
  const id = String(request.headers["webhook-id"]);
  if (!done.has(id)) {
    done.add(id);
    // The work begins here. Put the event into a queue of your own: visavis must not wait for long work.
    console.log(id, event.type, event.data.id ?? "");
  }
  return 204;
}

const server = createServer((request, response) => {
  receive(request).then(
    (status) => response.writeHead(status).end(),
    () => response.writeHead(400).end(),
  );
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
