// What several scripts do with the page's elements.

/**
 * Make an element with a class and a text.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 */
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/**
 * Return the element that a page is known to have.
 * @param {string} selector
 * @param {ParentNode} root
 * @returns {HTMLElement}
 */
export function get(selector, root = document) {
  const found = root.querySelector(selector);
  if (found instanceof HTMLElement) return found;
  throw new Error(`the page has no ${selector}`);
}

/**
 * Return the elements of a selector.
 * @param {string} selector
 * @param {ParentNode} root
 * @returns {HTMLElement[]}
 */
export const all = (selector, root = document) => [...root.querySelectorAll(selector)].filter((it) => it instanceof HTMLElement);

/**
 * Return the closest element around an event's target that fits, or null.
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
export const around = (event, selector) => (event.target instanceof Element ? event.target.closest(selector) : null);
