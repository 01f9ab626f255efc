// Makes an element's content like new HTML by changing what differs, and nothing else: what has
// the focus, the pointer, a selection or a scroll position keeps it. An element with an id stays the
// same one where others come or go before it, so a row keeps its tick.

/** @param {Element} element @param {string} html */
export function morph(element, html) {
  const wanted = document.createElement("template");
  wanted.innerHTML = html;
  alike(element, wanted.content);
}

/** @param {Node & ParentNode} element @param {ParentNode & Node} wanted */
function alike(element, wanted) {
  const ids = new Set([...wanted.children].map((node) => node.id).filter(Boolean));
  const known = new Map([...element.children].map((child) => [child.id, child]));
  /** @param {ChildNode} node */
  const isComing = (node) => ids.has(id(node));
  let place = element.firstChild; // what is before it is as it is wanted
  for (const node of [...wanted.childNodes]) {
    const own = id(node) ? known.get(id(node)) : null;
    while (own && place && place !== own && !isComing(place)) place = removed(place);
    if (own && place !== own) element.insertBefore(own, place);
    const old = own ?? (place && isSame(place, node) ? place : null);
    if (old && isSame(old, node)) {
      if (old === place) place = place.nextSibling;
      update(old, node);
    } else {
      if (place && !isComing(place)) place = removed(place);
      element.insertBefore(node, place);
    }
  }
  while (place) place = removed(place);
}

/** @param {ChildNode} node */
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

/** @param {Node} node */
const id = (node) => (node instanceof Element ? node.id : "");
/** @param {Node} one @param {Node} other */
const isSame = (one, other) => one.nodeName === other.nodeName && id(one) === id(other);

/** @param {ChildNode} node @param {ChildNode} wanted */
function update(node, wanted) {
  if (!(node instanceof Element && wanted instanceof Element)) {
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
/** @param {Element} node @param {string} name */
const isKept = (node, name) =>
  (name === "open" && node.nodeName === "DETAILS") ||
  (node.matches(".copy") && (name === "hidden" || name === "class"));
