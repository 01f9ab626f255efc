// What the pages do beyond being read: stay live, filter as you type, copy, keys.
import { showValuesAgain } from "./charts.js";
import { all, around, get } from "./dom.js";
import { morph } from "./morph.js";
import { openPalette } from "./palette.js";
import { searchStreams } from "./search.js";
import { clock, showTimes, zone } from "./times.js";

const STALE_MS = 5000; // the server sends something every 2 s
const RETRY_MS = 2000;

const notice = get(".stale");
/** @param {string} name */
const region = (name) => document.querySelector(`[data-live="${name}"]`);

// ---- live: the page's own URL, as events

/** @type {EventSource | null} */
let source = null;
/** @type {Map<string, string>} regions as they were sent, which are not shown yet */
const pending = new Map();
let heardAt = 0;
let retry = 0;

function listen() {
  if (source || document.hidden || !document.querySelector("[data-live]:not([data-live=instance], [data-live=badge])")) return;
  // What a page decides once, such as how it groups, is in the address that it follows.
  source = new EventSource(document.querySelector("[data-follows]")?.getAttribute("data-follows") ?? location.href);
  heardAt = performance.now();
  source.addEventListener("problem", (event) => say(`${JSON.parse(event.data)}. Trying again every 2 s.`));
  source.addEventListener("regions", (event) => {
    heardAt = performance.now();
    notice.hidden = true;
    for (const [name, html] of Object.entries(JSON.parse(event.data))) pending.set(name, html);
    for (const [name, html] of pending) {
      const shown = region(name);
      // No other row comes under a pointer that is about to press a button.
      if (shown?.querySelector("[data-calm]:is(:hover, :focus-within)")) continue;
      if (shown) morph(shown, html);
      pending.delete(name);
    }
    ready();
    showState();
    showValuesAgain();
  });
  source.onerror = () => {
    // A browser tries again by itself after a lost connection, but not after an error's answer.
    if (source?.readyState === EventSource.CLOSED) {
      stop();
      retry = setTimeout(listen, RETRY_MS);
    }
  };
}

function stop() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

function noticeStale() {
  if (!heardAt || document.hidden || performance.now() - heardAt < STALE_MS || !notice.hidden) return;
  const at = clock((performance.timeOrigin + heardAt) / 1000);
  say(`Not live since ${at} ${zone()}. Trying again every ${RETRY_MS / 1000} s.`);
  const state = document.querySelector(".instance .state");
  if (state) {
    state.className = "state bad";
    state.textContent = "✕ no answer";
  }
  showMark("✕ ", "bad");
  stop(); // a new connection gets all regions anew
  retry = setTimeout(listen, RETRY_MS);
}

/** @param {string} words */
function say(words) {
  notice.textContent = words;
  notice.hidden = false;
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
addEventListener("pagehide", stop);
setInterval(noticeStale, 500);

/** Finish what the server has sent: show what needs scripts, times and filters as they are chosen. */
function ready() {
  for (const hidden of all(".copy[hidden], .filter[hidden], .helpers[hidden]")) hidden.hidden = false;
  showTimes();
  for (const field of /** @type {HTMLInputElement[]} */ (all(".filter input"))) filter(field);
}

// ---- filter the rows of a long page as you type

/** @param {HTMLInputElement} field */
function filter(field) {
  const text = field.value.trim().toLowerCase();
  const rows = all(field.dataset.rows ?? "");
  for (const row of rows) row.hidden = text !== "" && !row.textContent?.toLowerCase().includes(text);
  const shown = rows.filter((row) => !row.hidden);
  const folds = text ? shown.map((row) => row.parentElement?.closest("details")) : [];
  for (const fold of folds) if (fold) fold.open = true;
  get("output", /** @type {Element} */ (field.parentElement)).textContent = text ? `${shown.length} of ${rows.length}` : "";
}

document.addEventListener("input", (event) => {
  if (!around(event, ".filter")) return;
  const field = /** @type {HTMLInputElement} */ (event.target);
  filter(field);
  const address = new URL(location.href); // which can be shared
  address.searchParams.set("filter", field.value);
  history.replaceState(null, "", address);
});
for (const field of /** @type {HTMLInputElement[]} */ (all(".filter input"))) field.value = new URLSearchParams(location.search).get("filter") ?? "";

/** Have the tab's title and icon show the state that the menu shows. */
function showState() {
  const badge = document.querySelector(".badge");
  const level = badge instanceof HTMLElement ? badge.dataset.level ?? "" : "";
  const count = badge?.firstChild?.textContent ?? "";
  showMark(level ? `${count} ${level === "bad" ? "✕" : "▲"} ` : "", level);
}

/** @param {string} mark @param {string} level */
function showMark(mark, level) {
  document.title = mark + document.title.replace(/^(\d+ )?[✕▲] /, "");
  document.querySelector("link[rel=icon]")?.setAttribute("href", `/static/headgate${level && `-${level}`}.svg`);
}

// ---- copy

document.addEventListener("click", async (event) => {
  const button = around(event, ".copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy ?? "");
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1000);
});

// ---- keys

let isInChord = false; // true after `g`, up to the next key, however long a person takes for it

/** @param {KeyboardEvent} event */
const isTyping = (event) => around(event, "input, textarea, select, [contenteditable]") !== null;

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    openPalette();
  } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event)) {
    if (document.documentElement.dataset.keys !== "off") press(event);
  }
});

/** @param {KeyboardEvent} event */
function press(event) {
  const page = isInChord && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  isInChord = event.key === "g";
  if (page instanceof HTMLAnchorElement) location.assign(page.href);
  else if (event.key === "?") openPreferences();
  else if (event.key === "/") find(event);
}

/** @param {KeyboardEvent} event */
function find(event) {
  event.preventDefault();
  const field = document.querySelector("#search") ?? document.querySelector(".filter input");
  if (field instanceof HTMLInputElement) field.select();
  else openPalette();
}

const openPreferences = () => /** @type {HTMLDialogElement} */ (get("#preferences")).showModal();
get("[data-opens=preferences]").addEventListener("click", openPreferences);
get("[data-opens=palette]").addEventListener("click", openPalette);
addEventListener("preference", showTimes);

// On a phone the links are a bar that scrolls.
document.querySelector(".rail nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
ready();
listen();

const listed = document.querySelector("#listed");
if (listed instanceof HTMLElement) searchStreams(listed, { listen, stop, ready, noticeStale });

const messages = document.querySelector("#messages");
if (messages instanceof HTMLElement) (await import("./messages.js")).show(messages);
