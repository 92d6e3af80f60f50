// Receives visavis's webhooks: checks the signature, answers at once, and does each event once.
//
// `npm ci && npm run build && WEBHOOK_SECRET=whsec_... npm start`. WEBHOOK_SECRET is what visavis showed when the endpoint
// was made; PORT is 0 for any.

import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

type Event = { type: string; timestamp: string; data: { id?: string } };

// A thin event has a few hundred bytes; whoever sends more is not visavis.
const MAX_BODY = 64 * 1024;

const webhook = new Webhook(process.env.WEBHOOK_SECRET ?? "");
const done = new Set<string>(); // In real life a table with a UNIQUE column: an event may come more than once.

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
    // Here the work begins: put it into a queue of your own. What takes long must not keep visavis waiting.
    console.log(event.type, event.data.id ?? "");
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
