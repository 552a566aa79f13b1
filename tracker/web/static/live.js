// What teammates and the sync change appears without a reload. An element with data-live="<topic> <topic>" is read
// again from its data-live-url when one of its topics changed, and takes its own place; never while somebody is
// at work in it. The topics come over an event stream, or are asked for where a stream can't be had.
"use strict";

(() => {
  const DEBOUNCE = 300; // milliseconds, as all here
  const AGAIN = 1000; // how soon to look whether somebody is still at work
  const REST = 1000; // between two readings of the same element; ten times what one takes, if that is longer
  const SILENCE = 45_000; // the stream beats every twenty seconds
  const OFFLINE = 30_000;
  const POLL = 20_000;
  const STREAM_SOON = 5_000; // a page that polls tries the stream again, less and less often
  const STREAM_LATE = 120_000;
  const HIDDEN = 5_000; // how long a page may be out of sight and keep its stream
  const FAILURES = 3;
  const PAUSES = [500, 1000, 2000, 5000, 10_000];
  const FLASH = 1600;

  // -- what the page shows, and what of it is out of date

  const readings = new WeakMap(); // element → { text, until, took }: what was read, and when it may be again
  let settling = 0; // a timer

  const shown = () => document.querySelectorAll("[data-live][data-live-url]");
  const topicsOf = (element) => element.dataset.live.split(/\s+/).filter(Boolean);
  const topics = () => [...new Set([...shown()].flatMap(topicsOf))].sort();

  function changed(names) {
    for (const element of shown()) {
      if (!names || topicsOf(element).some((name) => names.includes(name))) element.toggleAttribute("data-stale", true);
    }
    settle(DEBOUNCE);
  }

  function settle(pause) {
    clearTimeout(settling);
    settling = setTimeout(read, pause + Math.random() * DEBOUNCE); // not all pages of a team at the same moment
  }

  function read() {
    if (document.hidden) return;
    const waiting = [...document.querySelectorAll("[data-live][data-stale]")];
    for (const element of waiting) {
      if (!element.isConnected || element.parentElement.closest("[data-stale]:not([data-at-work])")) continue;
      const resting = (readings.get(element)?.until ?? 0) > Date.now();
      element.toggleAttribute("data-at-work", isBusy(element));
      if (!resting && !element.hasAttribute("data-at-work")) refresh(element);
    }
    if (document.querySelector("[data-live][data-stale]")) settle(AGAIN);
  }

  async function refresh(element) {
    element.removeAttribute("data-stale");
    const began = Date.now();
    readings.set(element, { ...readings.get(element), until: began + 30_000 });
    await window.htmx
      .ajax("GET", element.dataset.liveUrl, { source: element, target: element, swap: "outerHTML", headers: { "X-Live": "1" } })
      .catch(() => {});
    const took = Date.now() - began;
    const until = Date.now() + Math.max(REST, took * 10);
    const now = element.isConnected ? element : twin(element);
    if (now) readings.set(now, { ...readings.get(element), ...readings.get(now), until });
  }

  const twin = (element) => (element.id ? document.getElementById(element.id) : null);

  // -- somebody is at work

  let pressed = 0; // since when a button of the mouse or a finger is down
  document.addEventListener("pointerdown", () => { pressed = Date.now(); }, { capture: true, passive: true });
  for (const kind of ["pointerup", "pointercancel", "dragend"]) {
    document.addEventListener(kind, () => { pressed = 0; }, { capture: true, passive: true });
  }

  const TYPING = "input:not([type=checkbox],[type=radio],[type=button],[type=submit]),textarea,select,[contenteditable=true]";
  const OPEN = "dialog[open],details.menu[open],[popover]:popover-open,[aria-busy=true],.htmx-request,.sortable-chosen,.sortable-ghost,.sortable-drag";

  function isBusy(element) {
    const active = document.activeElement;
    if (pressed && Date.now() - pressed < 60_000) return true;
    if (active && element.contains(active) && active.matches(TYPING)) return true;
    if (element.matches("[aria-busy=true]") || element.querySelector(OPEN)) return true;
    if (element.closest(".sortable-chosen,.sortable-drag,details.menu[open],[popover]:popover-open")) return true;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) return true;
    return [...element.querySelectorAll("input,textarea,select")].some(isChanged);
  }

  function isChanged(control) {
    if (control.type === "hidden" || control.type === "checkbox" || control.type === "radio") return false;
    if (control.matches("select")) {
      const options = [...control.options];
      const first = options.findIndex((option) => option.defaultSelected);
      return control.selectedIndex !== (first < 0 && !control.multiple ? 0 : first);
    }
    return control.value !== control.defaultValue;
  }

  // -- taking the place: focus, ticks, what is folded open and how far it is scrolled stay as they are

  let kept = null; // of the swap that is under way

  const labelOf = (node) =>
    node.id ||
    node.dataset.key ||
    node.dataset.box ||
    node.querySelector?.(":scope a[href]")?.getAttribute("href") ||
    "";
  const nameOf = (node) =>
    [node.tagName, node.id, node.getAttribute("name"), node.getAttribute("href"), node.getAttribute("value") ?? "",
      node.id ? "" : labelOf(node.closest("[data-row],[data-box],li,tr") ?? node)].join("|");
  const folded = (node) => node.id || node.querySelector("summary")?.textContent.trim() || "";

  function remember(element) {
    const active = document.activeElement;
    const all = [element, ...element.querySelectorAll("*")];
    const scrolled = new Map();
    for (const node of all) {
      if (node.scrollTop || node.scrollLeft) scrolled.set(pathOf(element, node), [node.scrollTop, node.scrollLeft]);
    }
    return {
      element,
      focus: active && element.contains(active) ? nameOf(active) : null,
      scrolled,
      ticked: new Set([...element.querySelectorAll("input[type=checkbox]")].filter((box) => box.checked !== box.defaultChecked).map(nameOf)),
      open: new Map([...element.querySelectorAll("details")].map((node) => [folded(node), node.open])),
      rows: rowsOf(element),
    };
  }

  function pathOf(root, node) {
    if (node === root) return "";
    const like = [...root.querySelectorAll(node.tagName)];
    return node.id ? `#${CSS.escape(node.id)}` : `${node.tagName}:${like.indexOf(node)}`;
  }

  function atPath(root, path) {
    if (!path) return root;
    if (path.startsWith("#")) return root.querySelector(path);
    const [tag, index] = path.split(":");
    return root.querySelectorAll(tag)[Number(index)] ?? null;
  }

  function rowsOf(element) {
    const rows = new Map();
    for (const row of element.querySelectorAll("[data-row],[data-box]")) {
      const label = labelOf(row);
      if (label) rows.set(label, row.textContent.replace(/\s+/g, " ").trim());
    }
    return rows;
  }

  function restore(element, was) {
    for (const [path, [top, left]] of was.scrolled) {
      const node = atPath(element, path);
      if (node) [node.scrollTop, node.scrollLeft] = [top, left];
    }
    for (const box of element.querySelectorAll("input[type=checkbox]")) {
      if (was.ticked.has(nameOf(box))) box.checked = !box.defaultChecked;
    }
    if (was.ticked.size) element.dispatchEvent(new Event("change", { bubbles: true }));
    for (const node of element.querySelectorAll("details")) {
      const open = was.open.get(folded(node));
      if (open !== undefined) node.open = open;
    }
    if (was.focus && (document.activeElement === document.body || !document.activeElement)) {
      const same = [element, ...element.querySelectorAll("a,button,input,select,summary,[tabindex]")].find((node) => nameOf(node) === was.focus);
      same?.focus({ preventScroll: true });
    }
    flash(element, was.rows);
  }

  function flash(element, before) {
    if (!before.size) return;
    for (const row of element.querySelectorAll("[data-row],[data-box]")) {
      const label = labelOf(row);
      if (!label || before.get(label) === row.textContent.replace(/\s+/g, " ").trim()) continue;
      row.classList.add("just-changed"); // see css/live.css
      setTimeout(() => row.classList.remove("just-changed"), FLASH);
    }
  }

  const withoutToken = (text) => text.replace(/(name="csrf_token"[^>]*value=")[^"]*/g, "$1");
  const isOurs = (detail) => detail.requestConfig?.headers?.["X-Live"] === "1";

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { detail } = event;
    if (!isOurs(detail) || !detail.shouldSwap) return;
    const element = detail.target;
    const text = withoutToken(detail.serverResponse);
    const last = readings.get(element);
    if (isBusy(element)) { // somebody began to work in it while it was read
      detail.shouldSwap = false;
      element.toggleAttribute("data-stale", true);
      settle(AGAIN);
      return;
    }
    if (last?.text === text) {
      detail.shouldSwap = false;
      return;
    }
    kept = { ...remember(element), text, place: [element.parentElement, [...element.parentElement.children].indexOf(element)] };
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (!kept || !isOurs(event.detail)) return;
    const was = kept;
    kept = null;
    const element = twin(was.element) ?? was.place[0].children[was.place[1]];
    if (!element) return;
    readings.set(element, { text: was.text, until: Date.now() + REST });
    restore(element, was);
  });

  document.addEventListener("htmx:afterRequest", (event) => {
    const { detail } = event;
    if (!isOurs(detail) || detail.successful || (detail.xhr.status && detail.xhr.status < 500)) return;
    if (detail.target.isConnected) detail.target.toggleAttribute("data-stale", true); // not now: once we hear again
    settle(10 * AGAIN);
  });

  // -- the line: an event stream, else polling

  let stream = null;
  let watched = []; // the topics of the stream
  let failures = 0;
  let cursor = "";
  let fresh = performance.timeOrigin; // what is shown was right then
  let heard = Date.now();
  let timer = 0; // the next attempt, or the next poll
  let polling = false;
  let retry = 0; // when to try the stream again
  let patience = STREAM_SOON;
  let ended = false; // signed out
  let hiding = 0;

  function sound() {
    heard = fresh = Date.now();
    failures = 0;
    mark("");
  }

  function later(action, pause) {
    clearTimeout(timer);
    timer = setTimeout(action, pause);
  }

  function close() {
    clearTimeout(timer);
    stream?.close();
    stream = null;
  }

  function connect() {
    close();
    watched = topics();
    if (!watched.length || ended || document.hidden) return;
    if (!window.EventSource) return poll();
    // Two seconds more than it was: what is told twice costs a look, what is missed stays wrong.
    const age = Math.max(0, (Date.now() - fresh) / 1000) + 2;
    const opened = new EventSource(`/live?age=${age.toFixed(1)}&topics=${encodeURIComponent(watched.join(","))}`);
    stream = opened;
    const on = (kind, action) => opened.addEventListener(kind, (event) => {
      if (stream !== opened) return;
      sound();
      action?.(event);
    });
    on("hello", () => { polling = false; });
    on("beat", () => { patience = STREAM_SOON; });
    on("change", (event) => changed(event.data.split(" ")));
    on("refresh", () => changed(null));
    on("poll", () => {
      close();
      [polling, retry] = [true, Date.now() + STREAM_LATE];
      later(poll, POLL);
    });
    opened.addEventListener("error", () => { if (stream === opened) lost(); });
  }

  function lost() {
    close();
    failures += 1;
    if (failures >= FAILURES) poll();
    else later(connect, PAUSES[failures - 1] * (0.5 + Math.random()));
  }

  async function poll() {
    close();
    watched = topics();
    if (!watched.length || ended || document.hidden) return;
    if (polling && Date.now() >= retry && window.EventSource) {
      polling = false;
      failures = FAILURES - 1; // one attempt
      connect();
      return;
    }
    const query = new URLSearchParams({ cursor, topics: watched.join(",") });
    try {
      const answer = await fetch(`/live/since?${query}`, { headers: { "HX-Request": "true" }, signal: AbortSignal.timeout(15_000) });
      if (answer.status === 401) return signedOut();
      if (!answer.ok) throw new Error(answer.statusText);
      const told = await answer.json();
      cursor = told.cursor;
      if (!polling) {
        [polling, retry] = [true, Date.now() + patience];
        patience = Math.min(2 * patience, STREAM_LATE);
      }
      heard = fresh = Date.now();
      mark("");
      if (told.refresh) changed(null);
      else if (told.topics.length) changed(told.topics);
      later(poll, window.EventSource ? Math.min(POLL, Math.max(1000, retry - Date.now())) : POLL);
    } catch {
      // Nobody is there: the stream tells soonest when somebody is again.
      failures = Math.min(failures + 1, FAILURES + PAUSES.length);
      const pause = PAUSES[Math.min(failures - FAILURES, PAUSES.length - 1)] * (0.5 + Math.random());
      later(polling || !window.EventSource ? poll : connect, pause);
    }
  }

  function signedOut() {
    ended = true;
    close();
    mark("You are signed out: load the page to sign in again");
  }

  // -- the mark, when nothing is heard

  function mark(words) {
    let shownMark = document.getElementById("live-mark");
    if (!words) return shownMark?.remove();
    if (!shownMark) {
      shownMark = document.createElement("p");
      shownMark.id = "live-mark";
      shownMark.className = "live-mark";
      shownMark.setAttribute("role", "status");
      document.body.append(shownMark);
    }
    if (shownMark.textContent !== words) shownMark.textContent = words;
  }

  setInterval(() => {
    if (document.hidden || ended || !watched.length) return;
    const silent = Date.now() - heard;
    if (silent > OFFLINE + (polling ? POLL : 0) && !(stream && stream.readyState === EventSource.OPEN && silent < SILENCE)) {
      mark("Offline: trying again");
    }
    if (stream && silent > SILENCE) lost(); // half open: nobody will tell
  }, 5_000);

  // -- in sight or not

  function hide() {
    clearTimeout(hiding);
    hiding = setTimeout(close, HIDDEN);
  }

  function show() {
    clearTimeout(hiding);
    if (!stream && !ended) {
      heard = Date.now();
      (polling ? poll : connect)();
    }
    if (document.querySelector("[data-live][data-stale]")) settle(0);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? hide() : show()));
  window.addEventListener("online", () => { failures = 0; if (!ended) connect(); });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted) show(); });

  // Fragments bring topics of their own.
  let looking = 0;
  document.addEventListener("htmx:load", () => {
    clearTimeout(looking);
    looking = setTimeout(() => {
      if (topics().some((name) => !watched.includes(name)) && !ended) (polling ? poll : connect)();
    }, DEBOUNCE);
  });
  if (document.readyState === "complete") connect();
  else document.addEventListener("DOMContentLoaded", connect);
})();
