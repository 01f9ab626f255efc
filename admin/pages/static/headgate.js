// What the pages do beyond being read: stay live, copy, keys, values of charts.
import { showValues } from "./charts.js";
import { morph } from "./morph.js";
import { searchStreams } from "./search.js";

const STALE_MS = 5000; // the server sends something every 2 s
const RETRY_MS = 2000;
const CHORD_MS = 1000; // between `g` and the letter of a page

const region = (name) => document.querySelector(`[data-live="${name}"]`);

// ---- live: the page's own URL, as events

let source = null;
let heardAt = 0;
let retry = 0;

function listen() {
  if (source || document.hidden || !document.querySelector("[data-live]:not([data-live=instance])")) return;
  source = new EventSource(location.href);
  heardAt = performance.now();
  source.addEventListener("problem", (event) => say(`${JSON.parse(event.data)}. Trying again every 2 s.`));
  source.addEventListener("regions", (event) => {
    heard();
    for (const [name, html] of Object.entries(JSON.parse(event.data))) {
      const shown = region(name);
      if (shown) morph(shown, html);
    }
    ready();
    showValues.again();
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

function heard() {
  heardAt = performance.now();
  document.querySelector(".stale").hidden = true;
}

function noticeStale() {
  if (!heardAt || document.hidden || performance.now() - heardAt < STALE_MS) return;
  const notice = document.querySelector(".stale");
  if (!notice.hidden) return;
  const at = new Date(performance.timeOrigin + heardAt).toISOString().slice(11, 19);
  say(`Not live since ${at} UTC. Trying again every ${RETRY_MS / 1000} s.`);
}

function say(words) {
  const notice = document.querySelector(".stale");
  notice.textContent = words;
  notice.hidden = false;
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
addEventListener("pagehide", stop);
setInterval(noticeStale, 500);

// ---- copy

function ready() {
  for (const button of document.querySelectorAll(".copy[hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest(".copy");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1000);
});

// ---- keys

let chord = 0;

const isTyping = (element) => element.matches("input, textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const inChord = performance.now() - chord < CHORD_MS;
  chord = 0;
  const page = inChord && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  if (page) location.assign(page.href);
  else if (event.key === "g") chord = performance.now();
  else if (event.key === "?") document.querySelector("#keys")?.showModal();
  else if (event.key === "/") find(event);
});

function find(event) {
  event.preventDefault();
  const field = document.querySelector("#search");
  if (field) field.select();
  else location.assign("/streams");
}

// On a phone the links are a bar that scrolls.
document.querySelector(".rail nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
ready();
listen();

const listed = document.querySelector("#listed");
if (listed) searchStreams(listed, { listen, stop, ready, noticeStale });

const messages = document.querySelector("#messages");
if (messages) (await import("./messages.js")).show(messages);
