// Preferences that stay in this browser: colours, times in UTC or local, single-letter keys. Each is a
// `data-` attribute of the root, by its name. A script of the head, so that no page is shown in
// other colours first. No preference is a cookie: browsers would send that to the streams of this host.
{
  const root = document.documentElement;
  const NAMES = ["colours", "times", "keys"];
  /** @param {string} name */
  const key = (name) => `headgate-${name}`;

  /** @type {Record<string, string>} */
  let stored = {}; // for this page alone where storage is off
  try {
    stored = localStorage;
  } catch {
    // As browsers have it where sites may store nothing.
  }

  const show = () => {
    for (const name of NAMES) {
      const choice = stored[key(name)];
      if (choice) root.dataset[name] = choice;
      else delete root.dataset[name];
    }
  };

  /** @param {HTMLSelectElement} select */
  const choose = (select) => {
    stored[key(select.dataset.preference ?? "")] = select.value;
    show();
    dispatchEvent(new Event("preference"));
  };

  show();
  addEventListener("storage", () => {
    show(); // chosen in another tab
    dispatchEvent(new Event("preference"));
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const select of /** @type {NodeListOf<HTMLSelectElement>} */ (document.querySelectorAll("[data-preference]"))) {
      select.value = root.dataset[select.dataset.preference ?? ""] ?? "";
      select.addEventListener("change", () => choose(select));
    }
  });
}
