// Makes an element's content like new HTML by changing what differs, and nothing else: what has
// the focus, the pointer, a selection or a scroll position keeps it.

export function morph(element, html) {
  const wanted = document.createElement("template");
  wanted.innerHTML = html;
  alike(element, wanted.content);
}

function alike(element, wanted) {
  const old = [...element.childNodes];
  const fresh = [...wanted.childNodes];
  fresh.forEach((node, at) => {
    if (at >= old.length) element.append(node);
    else if (isSame(old[at], node)) update(old[at], node);
    else old[at].replaceWith(node);
  });
  for (const node of old.slice(fresh.length)) node.remove();
}

const isSame = (one, other) =>
  one.nodeName === other.nodeName && (one.id || "") === (other.id || "");

function update(node, wanted) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name, value } of wanted.attributes)
    if (node.getAttribute(name) !== value && !isKept(node, name)) node.setAttribute(name, value);
  for (const { name } of [...node.attributes])
    if (!wanted.hasAttribute(name) && !isKept(node, name)) node.removeAttribute(name);
  alike(node, wanted);
}

// What the person has opened stays open, and what the script has shown stays shown.
const isKept = (node, name) =>
  (name === "open" && node.nodeName === "DETAILS") ||
  (node.matches(".copy") && (name === "hidden" || name === "class"));
