// Dark or light, if somebody has chosen it; else the system's preference, as without scripts.
// A script of the head, so that no page is shown in other colours first. The choice is no cookie:
// browsers would send that to the streams of this host, too.

const KEY = "headgate-colours";
const root = document.documentElement;

function show(choice) {
  if (choice) root.dataset.theme = choice;
  else delete root.dataset.theme;
}

function stored() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return ""; // storage is off
  }
}

show(stored());
addEventListener("storage", () => show(stored())); // chosen in another tab

document.addEventListener("DOMContentLoaded", () => {
  const label = document.querySelector(".theme");
  if (!label) return;
  const select = label.querySelector("select");
  select.value = stored();
  label.hidden = false;
  select.addEventListener("change", () => {
    show(select.value);
    try {
      localStorage.setItem(KEY, select.value);
    } catch {
      // it lasts for this page
    }
  });
});
