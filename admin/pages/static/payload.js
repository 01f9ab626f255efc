// What a message says: JSON as a tree that folds, text as text, bytes as hex and ASCII.
import { make } from "./dom.js";

/** @typedef {{ text: string | null, data: string | null, size: number, truncated: boolean,
 *   offset?: string, next_offset?: string }} Message */

const PREVIEW = 300; // characters of a line
const DEEP = 2; // levels of a tree that begin open
const BYTES = 16; // of a line of hex
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

// Nothing hides: controls and marks of direction become their code points.
/** @param {string} text @param {string} allowed */
const visible = (text, allowed = "") =>
  text.replace(HIDDEN, (c) => (allowed.includes(c) ? c : `⟨U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}⟩`));

/** @param {Message} message */
export function preview(message) {
  if (message.text !== null) return visible(message.text.slice(0, PREVIEW).replace(/\s+/g, " "));
  return hex(decode(message.data).slice(0, PREVIEW / 3));
}

/** @param {Message} message @param {boolean} isJson */
export function payload(message, isJson) {
  /** @type {HTMLElement[]} */
  const parts = [facts(message)];
  if (message.text === null) parts.push(block(hexLines(decode(message.data)), "hex"));
  else parts.push((isJson && !message.truncated && tree(message.text)) || block(visible(message.text, "\n\t")));
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

/** @param {Message} message */
function facts(message) {
  const line = make("p", "muted", `${message.size.toLocaleString("en")} bytes`);
  if (message.next_offset) {
    const copy = make("button", "offset", `copy the offset behind it`);
    copy.type = "button";
    copy.classList.add("plain", "copy");
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

// ---- JSON

// A number as it was written: 12345678901234567890 is not what a browser makes of it.
class Written {
  /** @param {string} source */
  constructor(source) {
    this.source = source;
  }
}

/** @param {string} text */
function tree(text) {
  /** @param {string} _key @param {any} it @param {{source?: string}} [context] */
  const asWritten = (_key, it, context) => (typeof it === "number" && context?.source ? new Written(context.source) : it);
  let value;
  try {
    value = JSON.parse(text, asWritten);
  } catch {
    return null;
  }
  const root = make("div", "tree");
  root.append(node(null, value, 0));
  return root;
}

/** @param {string | null} key @param {unknown} value @param {number} depth @returns {HTMLElement} */
function node(key, value, depth) {
  if (value === null || typeof value !== "object" || value instanceof Written) {
    const leaf = make("div", "leaf");
    leaf.append(...label(key), scalar(value));
    return leaf;
  }
  const entries = Object.entries(value);
  const brackets = Array.isArray(value) ? "[]" : "{}";
  const branch = make("details");
  const summary = make("summary");
  summary.append(...label(key), entries.length ? `${brackets[0]}${entries.length}${brackets[1]}` : brackets);
  branch.append(summary);
  // Made when it is opened for the first time: a message may have thousands of nodes.
  const grow = () => branch.childElementCount > 1 || branch.append(...entries.map(([name, it]) => node(name, it, depth + 1)));
  branch.addEventListener("toggle", () => branch.open && grow());
  branch.open = depth < DEEP && entries.length > 0;
  if (branch.open) grow();
  return branch;
}

/** @param {string | null} key */
const label = (key) => (key === null ? [] : [make("bdi", "key", visible(key)), ": "]);

/** @param {unknown} value */
function scalar(value) {
  if (value instanceof Written) return make("span", "number", value.source);
  if (typeof value === "string") return make("bdi", "string", visible(JSON.stringify(value)));
  return make("span", typeof value === "number" ? "number" : "word", String(value));
}
