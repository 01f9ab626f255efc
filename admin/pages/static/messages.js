// The messages of a stream: read from an offset on, then followed. Only the rows in view exist.
import { around, get, make } from "./dom.js";
import { payload, preview } from "./payload.js";

/** @typedef {import("./payload.js").Message} Message */
/** @typedef {{ offset: string, skip: number }} Place */
/** @typedef {{ messages: Message[], behind: Place | null, tail: string, closed?: boolean }} Answer */

const ROW = 28; // pixels, as in the style sheet
const AROUND = 10; // rows drawn above and below the view
const PAGE = 200; // messages a request
const EAGER = 1000; // read at once; more when the list is scrolled to its end
const MOST = 10000; // then the oldest are let go
const NEAR_END = 40; // pixels from the end that still count as being there
const RETRY_MS = 2000;

/** @param {HTMLElement} element */
export function show(element) {
  const { route = "", name = "", offset = "" } = element.dataset;
  const isJson = element.dataset.json === "1";
  /** @param {string} what @param {Record<string, string>} more */
  const address = (what, more) => `/api/v1/stream/${what}?${new URLSearchParams({ route, name, ...more })}`;
  const list = makeList(element, isJson);
  const status = make("span", "muted status");
  status.setAttribute("role", "status");
  const button = make("button", "follow", "Follow");
  button.type = "button";
  get(".controls", element).append(button, status);

  /** @type {Place | null} */
  let place = { offset, skip: 0 };
  /** @type {string | null} the offset after everything that was read */
  let tail = null;
  /** @type {EventSource | null} */
  let source = null;
  let isWanted = true; // by the person: following, not paused
  let isAtLatest = offset === "latest"; // else the person reads from somewhere, and stays there
  /** @type {AbortController | null} what ends the read that goes on */
  let reading = null;
  let isClosed = false;

  const say = () => {
    const number = `${list.count().toLocaleString("en")} message${list.count() === 1 ? "" : "s"}`;
    const how = isClosed ? "closed: this is the end" : source ? "following" : tail === null ? "more to read" : "paused";
    status.textContent = `${number}, ${how}`;
    button.textContent = source ? "Pause" : "Follow";
    button.hidden = isClosed;
  };

  /** @param {Answer} part */
  const take = (part) => {
    list.add(part.messages, source !== null);
    place = part.behind;
    if (!place) tail = part.tail;
    isClosed = part.closed ?? false;
  };

  /** @param {number} upTo */
  async function read(upTo) {
    if (reading) return;
    const mine = (reading = new AbortController());
    try {
      while (place && list.read() < upTo) {
        const answer = await fetch(address("messages", { offset: place.offset, skip: `${place.skip}`, limit: `${PAGE}` }), { signal: mine.signal });
        const part = await answer.json();
        if (!answer.ok) throw new Error(part.detail);
        take(part);
      }
      say();
      follow();
    } catch (error) {
      if (mine.signal.aborted) return; // another one has taken its place
      status.textContent = `${/** @type {Error} */ (error).message}. Trying again in ${RETRY_MS / 1000} s.`;
      setTimeout(() => read(upTo), RETRY_MS);
    } finally {
      if (reading === mine) reading = null;
    }
  }

  function follow() {
    if (tail === null || source || isClosed || !isWanted || document.hidden) return;
    source = new EventSource(address("events", { offset: tail }));
    source.onmessage = (event) => {
      take(JSON.parse(event.data));
      tail = event.lastEventId || tail;
      place = null;
      say();
    };
    source.addEventListener("closed", () => {
      isClosed = true;
      stop();
    });
    source.addEventListener("problem", (event) => followLater(JSON.parse(event.data).detail));
    source.onopen = say;
    source.onerror = () => {
      // A browser tries again by itself after a lost connection, but not after an error's answer.
      if (source?.readyState === EventSource.CLOSED) followLater("The server refuses to be followed");
      else status.textContent = "The connection is lost. Trying again.";
    };
    if (isAtLatest) list.toEnd();
    say();
  }

  /** @param {string} reason */
  function followLater(reason) {
    stop();
    status.textContent = `${reason}. Trying again in ${RETRY_MS / 1000} s.`;
    setTimeout(follow, RETRY_MS);
  }

  function stop() {
    source?.close();
    source = null;
    say();
  }

  function startAtLatest() {
    reading?.abort();
    reading = null;
    list.clear();
    place = { offset: "latest", skip: 0 };
    read(EAGER);
  }

  button.addEventListener("click", () => {
    isWanted = !source;
    isAtLatest = true;
    if (source) stop();
    else if (tail === null) startAtLatest();
    else follow();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : follow()));
  addEventListener("pagehide", () => source?.close());
  list.atEnd(() => place && read(list.read() + PAGE));
  read(EAGER);
}

// A list with a message a row, and beside it all of the selected one.
/** @param {HTMLElement} element @param {boolean} isJson */
function makeList(element, isJson) {
  const view = make("div", "view");
  const room = make("div", "room");
  const detail = make("div", "detail");
  const split = make("div", "split");
  view.tabIndex = detail.tabIndex = 0;
  view.setAttribute("role", "listbox");
  view.setAttribute("aria-label", "Messages");
  detail.setAttribute("role", "region");
  detail.setAttribute("aria-label", "The selected message");
  detail.append(make("p", "muted", "Select a message to see all of it."));
  view.append(room);
  split.append(view, detail);
  get(".body", element).replaceChildren(split);

  /** @type {Message[]} */
  let rows = [];
  let first = 0; // the number of rows[0], after others were let go
  /** @type {number | null} */
  let selected = null;
  let isPinned = false; // at the end
  let isDrawing = false;
  let reachedEnd = () => {};

  function draw() {
    isDrawing = false;
    room.style.height = `${rows.length * ROW}px`;
    const from = Math.max(0, Math.floor(view.scrollTop / ROW) - AROUND);
    const to = Math.min(rows.length, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + AROUND);
    room.replaceChildren(...rows.slice(from, to).map((row, at) => drawRow(row, from + at)));
  }

  /** @param {Message} message @param {number} at */
  function drawRow(message, at) {
    const number = first + at;
    const row = make("div", "message");
    row.id = `message-${number}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(number === selected));
    row.setAttribute("aria-setsize", String(rows.length));
    row.setAttribute("aria-posinset", String(at + 1));
    row.style.top = `${at * ROW}px`;
    row.append(make("span", "place", String(number + 1)), make("bdi", "", preview(message)), make("span", "size", bytes(message.size)));
    return row;
  }

  const later = () => {
    if (!isDrawing) requestAnimationFrame(draw);
    isDrawing = true;
  };

  // Where the message begins, if that is known, as a link that shows the stream from there.
  /** @param {string | undefined} offset */
  function place(offset) {
    if (!offset) return [];
    const line = make("p", "muted", "At ");
    const there = make("a", "", offset);
    there.href = `/streams/one?${new URLSearchParams({ route: element.dataset.route ?? "", name: element.dataset.name ?? "", offset })}`;
    line.append(there);
    return [line];
  }

  /** @param {number} number */
  function select(number) {
    if (!rows.length) return;
    selected = Math.max(first, Math.min(first + rows.length - 1, number));
    const top = (selected - first) * ROW;
    if (top < view.scrollTop) view.scrollTop = top;
    if (top + ROW > view.scrollTop + view.clientHeight) view.scrollTop = top + ROW - view.clientHeight;
    view.setAttribute("aria-activedescendant", `message-${selected}`);
    draw();
    const message = rows[selected - first];
    if (!message) return;
    detail.replaceChildren(...payload(message, isJson), ...place(message.offset));
  }

  view.addEventListener("scroll", () => {
    isPinned = view.scrollTop + view.clientHeight > rows.length * ROW - NEAR_END;
    if (isPinned) reachedEnd();
    later();
  });
  view.addEventListener("click", (event) => {
    const row = around(event, ".message");
    if (row) select(Number(row.id.slice("message-".length)));
  });
  view.addEventListener("keydown", (event) => {
    const page = Math.floor(view.clientHeight / ROW);
    const step = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity }[event.key];
    if (!step) return;
    event.preventDefault();
    select((selected ?? first + rows.length) + step);
  });
  new ResizeObserver(later).observe(view);

  return {
    count: () => rows.length,
    read: () => first + rows.length, // with those that were let go
    /** @param {() => void} call */
    atEnd: (call) => (reachedEnd = call),
    clear() {
      rows = [];
      first = 0;
      selected = null;
      later();
    },
    // Who follows at the end stays there; who reads stays where they are.
    /** @param {Message[]} messages @param {boolean} isFollowing */
    add(messages, isFollowing) {
      rows.push(...messages);
      const over = Math.max(0, rows.length - MOST);
      rows.splice(0, over);
      first += over;
      room.style.height = `${rows.length * ROW}px`;
      if (isPinned && isFollowing) view.scrollTop = rows.length * ROW;
      else view.scrollTop -= over * ROW;
      later();
    },
    toEnd() {
      isPinned = true;
      view.scrollTop = rows.length * ROW;
      later();
    },
  };
}

/** @param {number} size */
function bytes(size) {
  if (size < 1000) return `${size} B`;
  return size < 1e6 ? `${(size / 1e3).toPrecision(3)} kB` : `${(size / 1e6).toPrecision(3)} MB`;
}
