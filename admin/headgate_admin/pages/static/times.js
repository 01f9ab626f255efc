// Times as the person has chosen them: UTC, as in log lines and as the server sends them, or local.
import { all } from "./dom.js";

const isLocal = () => document.documentElement.dataset.times === "local";
/** @param {number} number */
const two = (number) => String(number).padStart(2, "0");

/**
 * Return a time of day, such as 12:05:10.
 * @param {number} seconds since 1970
 */
export function clock(seconds) {
  const at = new Date(seconds * 1000);
  if (isLocal()) return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return at.toISOString().slice(11, 19);
}

export const zone = () => (isLocal() ? "local time" : "UTC");

/** @param {Date} at */
function exact(at) {
  if (!isLocal()) return `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const away = -at.getTimezoneOffset();
  const hours = `${two(Math.floor(Math.abs(away) / 60))}:${two(Math.abs(away) % 60)}`;
  return `${day} ${clock(at.getTime() / 1000)} UTC${away < 0 ? "−" : "+"}${hours}`;
}

/** Show the times of the page as they are chosen; the server has sent them in UTC. */
export function showTimes() {
  for (const time of all("time")) {
    const at = new Date(time.getAttribute("datetime") ?? "");
    if (Number.isNaN(at.getTime())) continue; // such as a year that no calendar has
    if (time.matches(".exact")) time.textContent = exact(at);
    else time.title = exact(at);
    if (time.matches(".clock")) time.textContent = clock(at.getTime() / 1000);
  }
  for (const label of document.querySelectorAll(".times [data-at]"))
    label.textContent = clock(Number(label.getAttribute("data-at"))).slice(0, label.textContent?.length);
}
