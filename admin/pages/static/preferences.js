// Preferences that stay in this browser: colours, times in UTC or local, single-letter keys. Each is a
// `data-` attribute of the root, by its name. A script of the head, so that no page is shown in
// other colours first. No preference is a cookie: browsers would send that to the streams of this host.
{
  const root = document.documentElement;
  const NAMES = ["colours", "times", "keys"];
  /** @param {string} name */
  const key = (name) => `headgate-${name}`;

  const show = () => {
    for (const name of NAMES) {
      let choice = root.dataset[name];
      try {
        choice = localStorage.getItem(key(name)) ?? undefined;
      } catch {
        // Storage is off: the choice lasts for this page.
      }
      if (choice) root.dataset[name] = choice;
      else delete root.dataset[name];
    }
  };

  /** @param {HTMLSelectElement} select */
  const choose = (select) => {
    const name = select.dataset.preference ?? "";
    root.dataset[name] = select.value;
    try {
      localStorage.setItem(key(name), select.value);
    } catch {
      // As above.
    }
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
