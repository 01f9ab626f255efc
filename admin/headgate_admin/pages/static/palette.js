// The palette: pages and streams by their names, from any page. A combobox with a list below it:
// the focus stays in the field, and `aria-activedescendant` says which entry Enter opens.
import { all, get, make } from "./dom.js";

const TYPING_MS = 150;
const STREAMS = 8; // of each route

/** @typedef {{ title: string, href: string, of: string, leadsToMore?: boolean }} Entry */

const dialog = /** @type {HTMLDialogElement} */ (get("#palette"));
const field = /** @type {HTMLInputElement} */ (get("input", dialog));
const list = get("[role=listbox]", dialog);
const status = get("[role=status]", dialog);

/** @type {Promise<string[]> | null} the prefixes of the routes, once they are needed */
let prefixes = null;
/** @type {AbortController | null} */
let searching = null;
let typing = 0;

export function openPalette() {
  field.value = "";
  show(pages(""));
  dialog.showModal();
}

/** @param {string} text @returns {Entry[]} */
function pages(text) {
  const links = /** @type {HTMLAnchorElement[]} */ (all(".rail nav a"));
  const entries = links.map((link) => ({ title: get("span", link).textContent ?? "", href: link.href, of: "page" }));
  return entries.filter((it) => it.title.toLowerCase().includes(text.toLowerCase()));
}

/** @param {string} path @param {AbortSignal} [signal] */
async function ask(path, signal) {
  const response = await fetch(`/api/v1/${path}`, { signal });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

/** @param {string} text @param {AbortSignal} signal @returns {Promise<Entry[]>} */
async function streams(text, signal) {
  // Not ended with this search, since the next one may wait for it already.
  prefixes ??= ask("routes").then((answer) => answer.routes.map((/** @type {{prefix: string}} */ it) => it.prefix));
  prefixes.catch(() => (prefixes = null)); // the next search asks again
  const found = (await prefixes).map(async (route) => {
    const query = new URLSearchParams({ route, contains: text, limit: String(STREAMS) });
    const page = /** @type {{rows: {name: string}[], after?: string | null}} */ (await ask(`streams?${query}`, signal));
    /** @type {Entry[]} */
    const entries = page.rows.map(({ name }) => ({ title: name, href: `/streams/one?${new URLSearchParams({ route, name })}`, of: route }));
    if (page.after) {
      const href = `/streams?${new URLSearchParams({ route, by: "contains", text })}`;
      entries.push({ title: `Search on Streams for all with ${text}`, href, of: route, leadsToMore: true });
    }
    return entries;
  });
  return (await Promise.all(found)).flat();
}

async function search() {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  const text = field.value.trim();
  show(pages(text));
  if (!text) return;
  try {
    show([...pages(text), ...(await streams(text, signal))]);
  } catch (error) {
    if (!signal.aborted) status.textContent = `Streams cannot be searched: ${/** @type {Error} */ (error).message}`;
  }
}

/** @param {Entry[]} entries */
function show(entries) {
  list.replaceChildren(
    ...entries.map(({ title, href, of }, at) => {
      const option = make("a", "option");
      option.id = `found-${at}`;
      option.href = href;
      option.tabIndex = -1;
      option.setAttribute("role", "option");
      option.append(make("bdi", "", title), make("span", "muted", of));
      return option;
    }),
  );
  const links = entries.filter((it) => it.leadsToMore).length;
  const number = entries.length - links;
  const found = number ? `${number} found` : "Nothing found";
  status.textContent = !links ? found : number ? `The first ${found}` : `${found} so far`;
  choose(0);
}

/** @param {number} at */
function choose(at) {
  const options = all("[role=option]", list);
  const chosen = options[(at + options.length) % options.length];
  for (const option of options) option.setAttribute("aria-selected", String(option === chosen));
  chosen?.scrollIntoView({ block: "nearest" });
  if (chosen) field.setAttribute("aria-activedescendant", chosen.id);
  else field.removeAttribute("aria-activedescendant");
}

field.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, TYPING_MS);
});
field.addEventListener("keydown", (event) => {
  const options = all("[role=option]", list);
  const at = options.findIndex((it) => it.getAttribute("aria-selected") === "true");
  const next = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
  if (event.key === "Enter") options[at]?.click();
  else if (next !== undefined) choose(next);
  else return;
  event.preventDefault();
});
