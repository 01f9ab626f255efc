// The search of streams, while its text is typed.
import { morph } from "./morph.js";

const TYPING_MS = 150;

/**
 * @param {HTMLElement} listed the region of the streams
 * @param {{listen(): void, stop(): void, ready(): void, noticeStale(): void}} page
 */
export function searchStreams(listed, page) {
  let typing = 0;
  let request = new AbortController();

  /** @param {string} url */
  async function search(url) {
    request.abort();
    request = new AbortController();
    listed.ariaBusy = "true";
    const answer = await fetch(url, { signal: request.signal, headers: { Accept: "text/html" } });
    if (!answer.ok) return location.assign(url);
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#listed");
    history.replaceState(null, "", url);
    morph(listed, found?.innerHTML ?? "");
    listed.ariaBusy = "false";
    page.ready();
    page.stop();
    page.listen();
  }

  document.addEventListener("input", (event) => {
    const form = event.target instanceof Element && event.target.closest("form");
    if (!form || !form.matches(".search")) return;
    clearTimeout(typing);
    const url = `${form.action}?${new URLSearchParams(/** @type {any} */ (new FormData(form)))}`;
    typing = setTimeout(() => search(url).catch((error) => error.name !== "AbortError" && page.noticeStale()), TYPING_MS);
  });
}
