// A receiver of webhooks without packages: it verifies each wake, works on it, and calls back.

import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const STREAMS = process.env.WEBHOOK_STREAMS ?? "http://127.0.0.1:4437/v1/stream";
const PORT = Number(process.env.WEBHOOK_PORT ?? "9000");
const SUBSCRIPTION = "orders";

const TOLERANCE_S = 300; // an older request may be sent by somebody who has recorded it
const FRESH_MS = 300_000; // of the keys, as the server permits
const PAUSE_MS = 10_000; // between fetches: anybody can send unknown keys
const MOST_BYTES = 2 << 20; // a wake with many streams has a megabyte
const EXTEND_MS = 10_000; // a third of the lease
const LEFT_MS = 20_000; // of the lease, at least, when the work is done
const AGAIN_MS = 500;

// The keys come from the server that you know, never from a place that a request names.
let keys = new Map();
let fetchedAt = -Infinity;
let attemptedAt = -Infinity;

async function keyOf(kid) {
  const now = performance.now();
  const isKnown = keys.has(kid) && now - fetchedAt < FRESH_MS;
  if (!isKnown && (keys.size === 0 || now - attemptedAt >= PAUSE_MS)) {
    attemptedAt = now;
    const answer = await fetch(`${STREAMS}/__ds/jwks.json`, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(`the keys cannot be fetched: ${answer.status}`);
    const found = (await answer.json()).keys.filter((key) => key.crv === "Ed25519");
    keys = new Map(found.map((key) => [key.kid, createPublicKey({ key, format: "jwk" })]));
    fetchedAt = now;
  }
  return keys.get(kid);
}

// Return why a request is not genuine, or null if it is.
async function whyForged(body, field) {
  const match = /^t=(\d{1,12}),kid=([\w-]{1,100}),ed25519=([\w-]{86})$/.exec(field ?? "");
  if (match === null) return "the field Webhook-Signature is not t=…,kid=…,ed25519=…";
  const [, time, kid, signature] = match;
  const isRecent = Math.abs(Date.now() / 1000 - Number(time)) <= TOLERANCE_S;
  if (!isRecent) return "the signature is of another time: check the clocks of both machines";
  const key = await keyOf(kid);
  if (key === undefined) return "the signature has a key that is not in the server's key set";
  const signed = Buffer.concat([Buffer.from(`${time}.`), body]);
  const isSigned = verify(null, signed, key, Buffer.from(signature, "base64url"));
  return isSigned ? null : "the signature is wrong: it is over the body byte for byte as it was sent";
}

function reject(reason) {
  console.log(`answered 401: ${reason}`);
  return [401, reason];
}

// Do the work: here, a line is printed.
async function confirm(customer, order) {
  console.log(`${customer}: your order of ${order.item} has arrived`);
}

async function readOn(stream) {
  let offset = (stream.trimmed ? stream.first_offset : null) ?? stream.acked_offset;
  for (;;) {
    const answer = await fetch(`${STREAMS}/${stream.path}?offset=${offset}`);
    if (answer.status === 404 || answer.status === 410) return null; // it was deleted meanwhile
    if (!answer.ok) throw new Error(`${stream.path} cannot be read: ${answer.status}`);
    for (const order of await answer.json()) await confirm(stream.path, order);
    offset = answer.headers.get("Stream-Next-Offset");
    // Offsets are ordered as texts. What came later is for the next wake.
    if (offset >= stream.tail_offset) return offset;
  }
}

async function callBack(wake, members) {
  const answer = await fetch(wake.callback_url, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${wake.callback_token}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify({ wake_id: wake.wake_id, generation: wake.generation, ...members }),
  });
  if (answer.ok) return;
  const error = new Error(`the callback was refused: ${await answer.text()}`);
  throw Object.assign(error, { isFinal: answer.status < 500 });
}

// Acknowledge what is done. While Headgate restarts, or its origin is down, it is sent again:
// otherwise the whole work would come again.
async function finish(wake, acks) {
  const until = performance.now() + LEFT_MS;
  for (;;) {
    try {
      return await callBack(wake, { acks, done: true });
    } catch (error) {
      if (error.isFinal || performance.now() > until) throw error;
      await sleep(AGAIN_MS);
    }
  }
}

const underWay = new Set();

async function work(wake) {
  if (underWay.has(wake.wake_id)) return; // it was sent again
  underWay.add(wake.wake_id);
  const extending = setInterval(() => callBack(wake, {}).catch(console.error), EXTEND_MS);
  try {
    await callBack(wake, {}); // refused if the wake is over: somebody may have recorded it
    const acks = [];
    for (const stream of wake.streams.filter((one) => one.has_pending)) {
      const offset = await readOn(stream);
      if (offset !== null) acks.push({ stream: stream.path, offset });
    }
    clearInterval(extending);
    await finish(wake, acks);
  } finally {
    clearInterval(extending);
    underWay.delete(wake.wake_id);
  }
}

async function respond(request) {
  if (request.method !== "POST" || request.url !== "/hook") return [404];
  const pieces = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size > MOST_BYTES) return [413];
    pieces.push(piece);
  }
  const body = Buffer.concat(pieces); // byte for byte: the signature is over these
  const reason = await whyForged(body, request.headers["webhook-signature"]);
  if (reason !== null) return reject(reason);
  const wake = JSON.parse(body);
  // Whoever may subscribe at the server can name your URL: work on your own subscriptions only.
  if (wake.subscription_id !== SUBSCRIPTION) {
    return reject("the wake is for another subscription");
  }
  // Without a callback, the lease ends, and the same work comes again.
  work(wake).catch(console.error);
  return [200];
}

createServer((request, response) => {
  respond(request)
    .catch((error) => {
      console.error(error);
      return [503]; // Headgate sends the wake again
    })
    .then(([status, reason]) => response.writeHead(status).end(reason));
}).listen(PORT, "127.0.0.1");
