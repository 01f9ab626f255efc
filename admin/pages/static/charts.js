// One cursor for all charts of a page: a rule at the same moment in each of them, under the pointer
// or by arrow keys. The chart that is pointed at lists its values beside it; the others have theirs
// in their legends.

const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("aria-hidden", "true");
tip.hidden = true;
// By keyboard the same is read out. Screen readers miss what was not displayed before, as the tip.
const spoken = document.createElement("div");
spoken.className = "unseen";
spoken.setAttribute("role", "status");
document.body.append(tip, spoken);

let rules = [];
let shown = null; // { chart, at }

export const showValues = {
  // After the charts have changed: the same place has other values.
  again() {
    if (!shown) return;
    if (shown.chart.isConnected) draw(shown.chart, shown.at);
    else hide();
  },
};

const count = (chart) => Number(chart.dataset.count);

function draw(chart, at) {
  hide();
  const place = Math.max(0, Math.min(count(chart) - 1, at));
  shown = { chart, at: place };
  const alike = [...document.querySelectorAll(".chart")].filter(
    (one) => one.dataset.start === chart.dataset.start && count(one) === count(chart),
  );
  for (const one of alike) {
    rules.push(rule(one, place));
    if (one !== chart) legend(one, place);
  }
  tip.replaceChildren(moment(chart, place), values(chart, place), ...events(chart, place));
  tip.hidden = false;
  const plot = chart.querySelector(".plot").getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 12;
  tip.style.left = `${Math.max(8, Math.min(middle(plot, chart, place) + 12, room))}px`;
  tip.style.top = `${plot.top + scrollY + 8}px`;
}

function rule(chart, at) {
  const plot = chart.querySelector(".plot").getBoundingClientRect();
  const line = document.createElement("div");
  line.className = "rule";
  line.style.left = `${middle(plot, chart, at)}px`;
  line.style.top = `${plot.top + scrollY}px`;
  line.style.height = `${plot.height}px`;
  document.body.append(line);
  return line;
}

const middle = (plot, chart, at) => plot.left + scrollX + (plot.width * (at + 0.5)) / count(chart);

function legend(chart, at) {
  for (const item of chart.querySelectorAll(".legend li"))
    item.querySelector("b").textContent = value(item, at);
}

const value = (item, at) => item.dataset.values.split("|").at(at) ?? "–";

function moment(chart, at) {
  const line = document.createElement("p");
  const seconds = Number(chart.dataset.start) + at * Number(chart.dataset.step);
  line.textContent = `${new Date(seconds * 1000).toISOString().slice(11, 19)} UTC`;
  return line;
}

function values(chart, at) {
  const list = document.createElement("ul");
  for (const series of chart.querySelectorAll(".legend li")) {
    const item = document.createElement("li");
    item.className = series.className;
    const number = document.createElement("b");
    number.textContent = value(series, at);
    item.append(document.createElement("i"), `${series.dataset.name} `, number);
    list.append(item);
  }
  return list;
}

function events(chart, at) {
  const those = JSON.parse(chart.dataset.events).filter(([place]) => place === at);
  return those.map(([, sentence]) => {
    const item = document.createElement("p");
    item.className = "event";
    item.textContent = sentence;
    return item;
  });
}

function read(chart) {
  const parts = [...tip.querySelectorAll("p, li")].map((part) => part.textContent.trim());
  spoken.textContent = `${chart.getAttribute("aria-label")}, ${parts.join(", ")}`;
}

function hide() {
  if (shown) for (const chart of document.querySelectorAll(".chart")) legend(chart, -1);
  shown = null;
  for (const line of rules) line.remove();
  rules = [];
  tip.hidden = true;
}

function under(chart, event) {
  const plot = chart.querySelector(".plot").getBoundingClientRect();
  const part = (event.clientX - plot.left) / plot.width;
  if (part < -0.02 || part > 1.02 || event.clientY > plot.bottom) return hide();
  draw(chart, Math.floor(part * count(chart)));
}

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart");
  if (chart) under(chart, event);
  else if (shown && document.activeElement !== shown.chart) hide();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hide();
  if (!event.target.matches?.(".chart")) return;
  const chart = event.target;
  const at = shown?.chart === chart ? shown.at : count(chart);
  const step = event.shiftKey ? 12 : 1;
  const place = { ArrowLeft: at - step, ArrowRight: at + step, Home: 0, End: count(chart) - 1 }[event.key];
  if (place === undefined) return;
  event.preventDefault();
  draw(chart, place);
  read(chart);
});

document.addEventListener("focusout", (event) => {
  if (event.target.matches?.(".chart")) hide();
});
