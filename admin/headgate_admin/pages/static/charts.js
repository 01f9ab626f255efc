// One cursor for all charts of a page: a rule at the same moment in each of them, under the pointer
// or by arrow keys. The chart that is pointed at lists its values beside it; the others have theirs
// in their legends. A span that is dragged, or selected by Shift and an arrow, leads to what
// happened in it.
import { all, around, get, make } from "./dom.js";
import { clock, zone } from "./times.js";

const PAGES = [
  ["/events", "events", "Events"],
  ["/events", "refusals", "Refusals"],
  ["/clients", "readers", "Readers that connected, and still are"],
];

const tip = make("div", "tip");
tip.setAttribute("aria-hidden", "true");
tip.hidden = true;
// By keyboard the same is read out. Screen readers miss what was not displayed before, as the tip.
const spoken = make("div", "unseen spoken");
spoken.setAttribute("role", "status");
const menu = make("div", "span-menu");
menu.popover = "auto"; // a click elsewhere and Escape close it
menu.setAttribute("role", "group");
document.body.append(tip, spoken, menu);

/** @typedef {{ chart: HTMLElement, at: number, from: number }} Cursor */
/** @type {HTMLElement[]} */
let rules = [];
/** @type {Cursor | null} what is shown: moments of `chart` from `from` to `at`, most often one */
let shown = null;
/** @type {HTMLElement | null} the chart in which a span is being dragged */
let dragged = null;

/** After the charts have changed, the same place has other values. */
export function showValuesAgain() {
  if (!shown) return;
  if (shown.chart.isConnected) draw(shown.chart, shown.at, shown.from);
  else hide();
  if (menu.matches(":popover-open")) tip.hidden = true;
}

/** @param {HTMLElement} chart */
const count = (chart) => Number(chart.dataset.count);
/** @param {HTMLElement} chart @param {number} at */
const within = (chart, at) => Math.max(0, Math.min(count(chart) - 1, at));
/** @param {HTMLElement} chart @param {number} at */
const moment = (chart, at) => Number(chart.dataset.start) + at * Number(chart.dataset.step);
/** @param {HTMLElement} chart */
const area = (chart) => /** @type {Element} */ (chart.querySelector(".plot")).getBoundingClientRect();

/** @param {HTMLElement} chart @param {number} at @param {number} from */
function draw(chart, at, from = at) {
  hide();
  shown = { chart, at: within(chart, at), from: within(chart, from) };
  const { at: place, from: begin } = shown;
  const alike = all(".chart").filter((one) => one.dataset.start === chart.dataset.start && count(one) === count(chart));
  for (const one of alike) {
    rules.push(rule(one, place, begin));
    if (one !== chart) legend(one, place);
  }
  const parts = [make("p", "", when(chart, place, begin)), values(chart, place), ...events(chart, place)];
  tip.replaceChildren(...parts);
  tip.hidden = false;
  const plot = area(chart);
  const room = document.documentElement.clientWidth - tip.offsetWidth - 12;
  tip.style.left = `${Math.max(8, Math.min(x(plot, chart, place + 0.5) + 12, room))}px`;
  tip.style.top = `${plot.top + scrollY + 8}px`;
}

/** @param {DOMRect} plot @param {HTMLElement} chart @param {number} at */
const x = (plot, chart, at) => plot.left + scrollX + (plot.width * at) / count(chart);

/** Draw the cursor: a line for one moment, an area for several.
 * @param {HTMLElement} chart @param {number} at @param {number} from */
function rule(chart, at, from) {
  const plot = area(chart);
  const line = make("div", at === from ? "rule" : "rule span");
  const [begin, end] = at === from ? [at + 0.5, at + 0.5] : [Math.min(at, from), Math.max(at, from) + 1];
  line.style.left = `${x(plot, chart, begin)}px`;
  if (begin !== end) line.style.width = `${x(plot, chart, end) - x(plot, chart, begin)}px`;
  line.style.top = `${plot.top + scrollY}px`;
  line.style.height = `${plot.height}px`;
  document.body.append(line);
  return line;
}

/** @param {HTMLElement} chart @param {number} at */
function legend(chart, at) {
  for (const item of all(".legend li", chart)) get("b", item).textContent = value(item, at);
}

/** @param {HTMLElement} item @param {number} at */
const value = (item, at) => (item.dataset.values ?? "").split("|").at(at) ?? "–";

/** @param {HTMLElement} chart @param {number} at @param {number} from */
function when(chart, at, from) {
  const times = at === from ? [at] : [Math.min(at, from), Math.max(at, from) + 1];
  return `${times.map((it) => clock(moment(chart, it))).join(" to ")} ${zone()}`;
}

/** @param {HTMLElement} chart @param {number} at */
function values(chart, at) {
  const list = make("ul");
  for (const series of all(".legend li", chart)) {
    const item = make("li", series.className);
    item.append(make("i"), `${series.dataset.name} `, make("b", "", value(series, at)));
    list.append(item);
  }
  return list;
}

/** @param {HTMLElement} chart @param {number} at */
function events(chart, at) {
  const marks = /** @type {[number, string][]} */ (JSON.parse(chart.dataset.events ?? "[]"));
  return marks.filter(([place]) => place === at).map(([, sentence]) => make("p", "event", sentence));
}

/** @param {HTMLElement} chart */
function read(chart) {
  const parts = all("p, li", tip).map((part) => part.textContent?.trim());
  spoken.textContent = `${chart.getAttribute("aria-label")}, ${parts.join(", ")}`;
}

function hide() {
  if (shown) for (const chart of all(".chart")) legend(chart, -1);
  shown = null;
  for (const line of rules) line.remove();
  rules = [];
  tip.hidden = true;
}

/** Show what the selected span leads to. */
function lead() {
  if (!shown) return;
  const { chart, at, from } = shown;
  const [begin, end] = [Math.min(at, from), Math.max(at, from) + 1].map((it) => new Date(moment(chart, it) * 1000).toISOString());
  const links = PAGES.map(([path, show = "", words]) => {
    const link = make("a", "", words);
    link.href = `${path}?${new URLSearchParams({ show, from: begin ?? "", to: end ?? "" })}`;
    return link;
  });
  const title = when(chart, at, from);
  menu.setAttribute("aria-label", title);
  menu.replaceChildren(make("p", "muted", title), ...links);
  menu.showPopover();
  menu.style.left = tip.style.left;
  menu.style.top = tip.style.top;
  tip.hidden = true;
  links[0]?.focus();
}

menu.addEventListener("toggle", () => !menu.matches(":popover-open") && hide());

// ---- pointer

/** @param {HTMLElement} chart @param {PointerEvent} event */
function placeUnder(chart, event) {
  const plot = area(chart);
  const part = (event.clientX - plot.left) / plot.width;
  return part < -0.02 || part > 1.02 || event.clientY > plot.bottom ? null : within(chart, Math.floor(part * count(chart)));
}

document.addEventListener("pointerdown", (event) => {
  const chart = around(event, ".chart");
  const at = chart && event.button === 0 ? placeUnder(chart, event) : null;
  if (!chart || at === null) return;
  dragged = chart;
  draw(chart, at);
});

document.addEventListener("pointermove", (event) => {
  if (menu.matches(":popover-open")) return;
  const chart = dragged ?? around(event, ".chart");
  const at = chart && placeUnder(chart, event);
  if (chart && at !== null) draw(chart, at, dragged && shown ? shown.from : at);
  else if (shown && !dragged && document.activeElement !== shown.chart) hide();
});

document.addEventListener("pointerup", () => {
  // After the browser has closed what was open, which it does when the pointer goes up.
  if (dragged && shown && shown.at !== shown.from) setTimeout(lead);
  dragged = null;
});
document.addEventListener("pointercancel", () => (dragged = null));

// ---- keyboard

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hide();
  const chart = around(event, ".chart");
  if (!chart || chart !== event.target) return;
  const known = shown?.chart === chart ? shown : null;
  if (event.key === "Enter" && known) return lead();
  const at = known ? known.at : count(chart);
  const place = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 12, PageDown: at + 12, Home: 0, End: count(chart) - 1 }[event.key];
  if (place === undefined) return;
  event.preventDefault();
  draw(chart, place, event.shiftKey && known ? known.from : place);
  read(chart);
});

document.addEventListener("focusout", (event) => {
  if (around(event, ".chart") === event.target && !menu.matches(":popover-open")) hide();
});
