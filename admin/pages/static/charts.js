// The values of one moment of a chart: a rule and a list, under the pointer or by arrow keys.

const rule = document.createElement("div");
rule.className = "rule";
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
rule.hidden = tip.hidden = true;
document.body.append(rule, tip);

let shown = null; // { chart, at }

export const showValues = {
  // After the charts have changed: the same place has other values.
  again() {
    if (!shown) return;
    if (shown.chart.isConnected) draw(shown.chart, shown.at);
    else hide();
  },
};

function draw(chart, at) {
  const count = Number(chart.dataset.count);
  const place = Math.max(0, Math.min(count - 1, at));
  shown = { chart, at: place };
  const plot = chart.querySelector(".plot").getBoundingClientRect();
  const x = plot.left + scrollX + (plot.width * place) / Math.max(1, count - 1);
  rule.style.left = `${x}px`;
  rule.style.top = `${plot.top + scrollY}px`;
  rule.style.height = `${plot.height}px`;
  tip.replaceChildren(moment(chart, place), values(chart, place));
  rule.hidden = tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 12;
  tip.style.left = `${Math.max(8, Math.min(x + 12, room))}px`;
  tip.style.top = `${plot.top + scrollY + 8}px`;
}

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
    const value = document.createElement("b");
    value.textContent = series.dataset.values.split("|")[at] ?? "–";
    item.append(document.createElement("i"), `${series.dataset.name} `, value);
    list.append(item);
  }
  return list;
}

function hide() {
  shown = null;
  rule.hidden = tip.hidden = true;
}

function under(chart, event) {
  const plot = chart.querySelector(".plot").getBoundingClientRect();
  const part = (event.clientX - plot.left) / plot.width;
  if (part < -0.02 || part > 1.02 || event.clientY > plot.bottom) return hide();
  draw(chart, Math.round(part * (Number(chart.dataset.count) - 1)));
}

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart");
  if (chart) under(chart, event);
  else if (shown && document.activeElement !== shown.chart) hide();
});

document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") return hide();
  if (!step || !event.target.matches?.(".chart")) return;
  event.preventDefault();
  const chart = event.target;
  const last = Number(chart.dataset.count) - 1;
  draw(chart, shown?.chart === chart ? shown.at + step * (event.shiftKey ? 12 : 1) : last);
});

document.addEventListener("focusout", (event) => {
  if (event.target.matches?.(".chart")) hide();
});
