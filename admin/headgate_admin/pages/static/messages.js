// The messages of a stream: read from an offset on, then followed. A row opens to all of its message.
import { around, get, make } from "./dom.js";

/** @typedef {{ text: string | null, data: string | null, size: number, truncated: boolean,
 *   offset?: string, next_offset?: string }} Message */
/** @typedef {{ offset: string, skip: number }} Place */
/** @typedef {{ messages: Message[], behind: Place | null, tail: string, closed?: boolean }} Answer */

const PAGE = 200; // messages a request
const EAGER = 1000; // read at once; more when the list is scrolled to its end
const MOST = 2000; // then the oldest are removed
const NEAR_END = 40; // pixels from the end that still count as being there
const RETRY_MS = 2000;
const REFUSED_OFFSETS = [400, 410]; // nothing is there, however often it is read
const PREVIEW = 300; // characters of a line
const BYTES = 16; // of a line of hex
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** @param {HTMLElement} element */
export function show(element) {
  const { route = "", name = "", offset = "" } = element.dataset;
  const isJson = element.dataset.json === "1";
  /** @param {string} what @param {Record<string, string>} more */
  const address = (what, more) => `/api/v1/stream/${what}?${new URLSearchParams({ route, name, ...more })}`;
  /** @param {string} offset where a message begins */
  const there = (offset) => `/streams/one?${new URLSearchParams({ route, name, offset })}`;
  const list = make("ol", "plain-list");
  list.setAttribute("aria-label", "Messages");
  get(".body", element).replaceChildren(list);
  const status = make("span", "muted status");
  status.setAttribute("role", "status");
  const button = make("button", "follow", "Follow");
  button.type = "button";
  get(".controls", element).append(button, status);

  /** @type {Place | null} */
  let place = { offset, skip: 0 };
  /** @type {string | null} the offset after everything that was read */
  let tail = null;
  /** @type {EventSource | null} */
  let source = null;
  let isWanted = true; // by the person: following, not paused
  let isAtLatest = offset === "latest"; // else the person reads from somewhere, and stays there
  /** @type {AbortController | null} what ends the read that goes on */
  let reading = null;
  let isClosed = false;
  let taken = 0; // messages, with those that were removed again

  const isAtEnd = () => list.scrollTop + list.clientHeight > list.scrollHeight - NEAR_END;
  const toEnd = () => (list.scrollTop = list.scrollHeight);

  const say = () => {
    const count = list.childElementCount;
    const number = `${count.toLocaleString("en")} message${count === 1 ? "" : "s"}`;
    const how = isClosed ? "closed: this is the end" : source ? "following" : tail === null ? "more to read" : "paused";
    status.textContent = `${number}, ${how}`;
    button.textContent = source ? "Pause" : "Follow";
    button.hidden = isClosed;
  };

  /** @param {Answer} part */
  const take = (part) => {
    const stays = source !== null && isAtEnd(); // else the browser keeps what is read in place
    list.append(...part.messages.slice(-MOST).map((it) => makeRow(it, isJson, there)));
    while (list.childElementCount > MOST) list.firstChild?.remove();
    if (stays) toEnd();
    taken += part.messages.length;
    place = part.behind;
    if (!place) tail = part.tail;
    isClosed = part.closed ?? false;
  };

  /** @param {number} upTo */
  async function read(upTo) {
    if (reading) return;
    const mine = (reading = new AbortController());
    try {
      while (place && taken < upTo) {
        const answer = await fetch(address("messages", { offset: place.offset, skip: `${place.skip}`, limit: `${PAGE}` }), { signal: mine.signal });
        const part = await answer.json();
        if (REFUSED_OFFSETS.includes(answer.status)) {
          place = null;
          status.textContent = part.detail;
          return;
        }
        if (!answer.ok) throw new Error(part.detail);
        take(part);
      }
      say();
      follow();
    } catch (error) {
      if (mine.signal.aborted) return; // another one has taken its place
      status.textContent = `${/** @type {Error} */ (error).message}. Trying again in ${RETRY_MS / 1000} s.`;
      setTimeout(() => read(upTo), RETRY_MS);
    } finally {
      if (reading === mine) reading = null;
    }
  }

  function follow() {
    if (tail === null || source || isClosed || !isWanted || document.hidden) return;
    source = new EventSource(address("events", { offset: tail }));
    source.onmessage = (event) => {
      take(JSON.parse(event.data));
      tail = event.lastEventId || tail;
      place = null;
      say();
    };
    source.addEventListener("closed", () => {
      isClosed = true;
      stop();
    });
    source.addEventListener("problem", (event) => followLater(JSON.parse(event.data).detail));
    source.onopen = say;
    source.onerror = () => {
      // A browser tries again by itself after a lost connection, but not after an error's answer.
      if (source?.readyState === EventSource.CLOSED) followLater("The server refuses to be followed");
      else status.textContent = "The connection is lost. Trying again.";
    };
    if (isAtLatest) toEnd();
    say();
  }

  /** @param {string} reason */
  function followLater(reason) {
    stop();
    status.textContent = `${reason}. Trying again in ${RETRY_MS / 1000} s.`;
    setTimeout(follow, RETRY_MS);
  }

  function stop() {
    source?.close();
    source = null;
    say();
  }

  function startAtLatest() {
    reading?.abort();
    reading = null;
    list.replaceChildren();
    taken = 0;
    place = { offset: "latest", skip: 0 };
    read(EAGER);
  }

  button.addEventListener("click", () => {
    isWanted = !source;
    isAtLatest = true;
    if (source) stop();
    else if (tail === null) startAtLatest();
    else follow();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : follow()));
  addEventListener("pagehide", () => source?.close());
  list.addEventListener("scroll", () => {
    if (place && isAtEnd()) read(taken + PAGE);
  });
  list.addEventListener("keydown", (event) => {
    const row = around(event, ".plain-list > li > details > summary")?.closest("li");
    const beside = { ArrowUp: row?.previousElementSibling, ArrowDown: row?.nextElementSibling };
    const next = { ...beside, Home: list.firstElementChild, End: list.lastElementChild }[event.key];
    if (!row || !next) return;
    event.preventDefault();
    get("summary", next).focus();
  });
  read(EAGER);
}

/** @param {Message} message @param {boolean} isJson @param {(offset: string) => string} there */
function makeRow(message, isJson, there) {
  const row = make("li");
  const details = make("details");
  const summary = make("summary");
  summary.append(make("span", "size", bytes(message.size)), " ", make("bdi", "", preview(message)));
  details.append(summary);
  // Made when it is opened for the first time.
  details.addEventListener("toggle", () => details.append(...payload(message, isJson, there)), { once: true });
  row.append(details);
  return row;
}

/** @param {number} size */
function bytes(size) {
  if (size < 1000) return `${size} B`;
  return size < 1e6 ? `${(size / 1e3).toPrecision(3)} kB` : `${(size / 1e6).toPrecision(3)} MB`;
}

// ---- what a message says: JSON in lines, text as text, bytes as hex and ASCII

// Nothing hides: controls and marks of direction become their code points.
/** @param {string} text @param {string} allowed */
const visible = (text, allowed = "") =>
  text.replace(HIDDEN, (c) => (allowed.includes(c) ? c : `⟨U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`));

/** @param {Message} message */
function preview(message) {
  if (message.text !== null) return visible(message.text.slice(0, PREVIEW).replace(/\s+/g, " "));
  return hex(decode(message.data).slice(0, PREVIEW / 3));
}

/** @param {Message} message @param {boolean} isJson @param {(offset: string) => string} there */
function payload(message, isJson, there) {
  /** @type {HTMLElement[]} */
  const parts = [facts(message, there)];
  if (message.text === null) parts.push(block(hexLines(decode(message.data)), "hex"));
  else parts.push(block(visible(isJson && !message.truncated ? indented(message.text) : message.text, "\n\t")));
  if (message.truncated) parts.push(make("p", "muted", "Cut: it is longer than what is shown."));
  return parts;
}

/** @param {string | null} data */
const decode = (data) => Uint8Array.from(atob(data ?? ""), (c) => c.charCodeAt(0));
/** @param {Uint8Array} bytes */
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** @param {string} text */
function block(text, className = "") {
  const pre = make("pre", className);
  pre.tabIndex = 0; // what is wider than the page is scrolled by keys, too
  pre.append(make("code", "", text));
  return pre;
}

/** @param {Message} message @param {(offset: string) => string} there */
function facts(message, there) {
  const line = make("p", "muted", `${message.size.toLocaleString("en")} bytes`);
  if (message.offset) {
    const begin = make("a", "", message.offset);
    begin.href = there(message.offset);
    line.append(" at ", begin);
  }
  if (message.next_offset) {
    const copy = make("button", "plain copy", "copy the offset after it");
    copy.type = "button";
    copy.dataset.copy = message.next_offset;
    copy.title = message.next_offset;
    line.append(" · ", copy);
  }
  return line;
}

/** @param {Uint8Array} bytes */
function hexLines(bytes) {
  const lines = [];
  for (let begin = 0; begin < bytes.length; begin += BYTES) {
    const piece = bytes.slice(begin, begin + BYTES);
    const seen = Array.from(piece, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${begin.toString(16).padStart(8, "0")}  ${hex(piece).padEnd(3 * BYTES - 1)}  ${seen}`);
  }
  return lines.join("\n");
}

// JSON with a line for each value. A number stays as it was written: 12345678901234567890 is not what
// a browser makes of it.
/** @param {string} text */
function indented(text) {
  const { rawJSON } = /** @type {{rawJSON?: (source: string) => unknown}} */ (JSON);
  /** @param {string} _key @param {any} it @param {{source?: string}} [context] */
  const asWritten = (_key, it, context) => (typeof it === "number" && context?.source ? rawJSON?.(context.source) : it);
  try {
    return rawJSON ? JSON.stringify(JSON.parse(text, asWritten), null, 2) : text;
  } catch {
    return text;
  }
}
