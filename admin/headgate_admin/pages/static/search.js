// The search of streams: while its text is typed, and part after part until a page is full or no name is left.
import { morph } from "./morph.js";

const TYPING_MS = 150;

/**
 * @param {HTMLElement} listed the region of the streams
 * @param {{listen(): void, stop(): void, ready(): void, noticeStale(): void}} page
 */
export function searchStreams(listed, page) {
  let typing = 0;
  let request = new AbortController();

  /** @param {string} url @returns {Promise<HTMLElement | null>} the region as that page has it */
  async function fetched(url) {
    const answer = await fetch(url, { signal: request.signal, headers: { Accept: "text/html" } });
    if (!answer.ok) {
      location.assign(url);
      return null;
    }
    return new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#listed");
  }

  /** @param {string} url */
  async function search(url) {
    request.abort();
    request = new AbortController();
    const found = await fetched(url);
    if (!found) return;
    history.replaceState(null, "", url);
    listed.dataset.live = "streams";
    morph(listed, found.innerHTML);
    page.ready();
    page.stop();
    page.listen();
    await goOn();
  }

  async function goOn() {
    for (let link; (link = listed.querySelector("a[data-goes-on]")); ) {
      // The page's own URL shows the first part alone, so what is added to it does not stay live.
      delete listed.dataset.live;
      page.stop();
      const next = await fetched(/** @type {HTMLAnchorElement} */ (link).href);
      if (!next) return;
      const rows = listed.querySelectorAll("tbody tr");
      next.querySelector("tbody")?.prepend(...rows);
      morph(listed, next.innerHTML);
      page.ready();
    }
  }

  /** @param {unknown} error */
  function failed(error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) page.noticeStale();
  }

  document.addEventListener("input", (event) => {
    const form = event.target instanceof Element && event.target.closest("form");
    if (!form || !form.matches(".search")) return;
    clearTimeout(typing);
    const url = `${form.action}?${new URLSearchParams(/** @type {any} */ (new FormData(form)))}`;
    typing = setTimeout(() => search(url).catch(failed), TYPING_MS);
  });
  goOn().catch(failed);
}
