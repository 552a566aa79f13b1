// Shortcuts, as the pages declare them: data-key="e" or data-key="g b" on a link, a button or a control.
//   data-key            what activates it: a link or a button is clicked, an input gets the focus
//   data-key-label      what the list of shortcuts calls it; else its aria-label or its text
//   data-row            an entry of a list: j and k go from one to the next (to its [data-row-main], else its first
//                       link), x ticks its box, o and Enter open it
//   data-row-key        within such an entry: acts on the entry that has the focus
//   data-keys-only      around elements that are there for their keys alone
// Silent while somebody types, with Ctrl, Alt or ⌘, and in a dialog but for the dialog's own.
"use strict";

(() => {
  const SECOND_MS = 1500; // how long the second key of two is waited for
  const TEXTS = "input:not([type=checkbox], [type=radio], [type=button], [type=submit], [type=range], [type=color]), textarea, select, [contenteditable]:not([contenteditable=false])";
  let pending = "";
  let timer = 0;
  let last = { row: null, at: -1 };

  const typing = (element) => Boolean(element && element.matches && element.matches(TEXTS));
  const visible = (element) => (element.checkVisibility ? element.checkVisibility() : element.getClientRects().length > 0);

  // Where keys count: the topmost dialog, else the page.
  function scope() {
    return [...document.querySelectorAll("dialog[open]")].pop() || document;
  }

  function offered(selector, root = scope()) {
    return [...root.querySelectorAll(selector)].filter((one) => {
      const dialog = one.closest("dialog");
      const hidden = one.closest("[hidden]");
      return !one.disabled && (!dialog || dialog === root) && (!hidden || hidden.matches("[data-keys-only]"));
    });
  }

  // Of several that claim a key: one that is seen before one that is not, one of the page before the navigation's, and
  // of notices the newest.
  function best(found) {
    const rank = (one) => (visible(one) ? 0 : 2) + (one.closest("main, dialog, .notices") ? 0 : 1);
    const newer = (a, b) => (a.closest(".notices") && b.closest(".notices") ? found.indexOf(b) - found.indexOf(a) : 0);
    return [...found].sort((a, b) => rank(a) - rank(b) || newer(a, b))[0];
  }

  function activate(element) {
    for (let around = element.parentElement; around; around = around.parentElement) {
      if (around instanceof HTMLDetailsElement && !around.firstElementChild.contains(element)) around.open = true;
    }
    if (typing(element)) {
      element.focus();
      if (element.select && element.tagName === "INPUT") element.select();
    } else {
      element.click();
    }
  }

  // -- rows
  const rows = () => offered("[data-row]").filter(visible);
  const entrance = (row) => row.querySelector("[data-row-main]") || row.querySelector("a[href]") || row;
  const present = () => (document.activeElement ? document.activeElement.closest("[data-row]") : null);

  function go(by) {
    const all = rows();
    if (!all.length) return;
    let at = all.indexOf(present());
    if (at < 0 && last.row) {
      // the row that had the focus, or, if it is gone, the one that took its place
      at = all.indexOf(last.row);
      at = at >= 0 ? at : Math.min(last.at, all.length) - (by > 0 ? 1 : 0);
    }
    const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
    const main = entrance(next);
    if (main === next && !next.hasAttribute("tabindex")) next.tabIndex = -1;
    main.focus({ focusVisible: true, preventScroll: true });
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  document.addEventListener("focusin", (event) => {
    const row = event.target.closest("[data-row]");
    if (row) last = { row, at: rows().indexOf(row) };
  });

  function onRow(key) {
    const row = present();
    if (key === "j" || key === "k") {
      if (!rows().length) return false;
      go(key === "j" ? 1 : -1);
      return true;
    }
    if (!row) return false;
    const own = best([...row.querySelectorAll("[data-row-key]")].filter((one) => one.dataset.rowKey === key && !one.disabled));
    if (own) {
      activate(own);
      return true;
    }
    if (key === "x") {
      const box = row.querySelector("input[type=checkbox]");
      if (box) box.click();
      return Boolean(box);
    }
    const elsewhere = document.activeElement === row || document.activeElement.matches("input[type=checkbox], input[type=radio]");
    if (key === "o" || (key === "Enter" && elsewhere)) {
      const main = entrance(row);
      if (main !== row) main.click();
      return main !== row;
    }
    return false;
  }

  // -- the keys
  const name = (event) => (!event.shiftKey && event.key.length === 1 ? event.key.toLowerCase() : event.key); // CapsLock

  function forget() {
    clearTimeout(timer);
    pending = "";
    const shown = document.querySelector(".pending");
    if (shown) shown.remove();
  }

  function wait(key) {
    pending = key;
    timer = setTimeout(forget, SECOND_MS);
    const hint = document.createElement("p");
    hint.className = "pending";
    hint.setAttribute("aria-hidden", "true");
    hint.append(drawn(key), " then …");
    document.body.append(hint);
  }

  function press(key) {
    const all = offered("[data-key]");
    const sequence = pending ? `${pending} ${key}` : key;
    const second = Boolean(pending);
    forget();
    const found = best(all.filter((one) => one.dataset.key === sequence));
    if (!second && onRow(key)) return true;
    if (found) {
      activate(found);
      return true;
    }
    if (second) return true; // the second of two keys never means anything by itself
    if (all.some((one) => one.dataset.key.startsWith(`${key} `))) {
      wait(key);
      return true;
    }
    if (key === "?" && scope() === document) {
      help();
      return true;
    }
    return false;
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.repeat && !"jk".includes(event.key)) return;
    const graph = event.getModifierState && event.getModifierState("AltGraph");
    if (!graph && (event.ctrlKey || event.altKey || event.metaKey)) return;
    if (["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Tab"].includes(event.key)) return;
    const active = document.activeElement;
    if (event.key === "Escape") {
      forget();
      if (typing(active) && scope() === document) active.blur();
      return;
    }
    if (typing(active)) return;
    if (event.key === "Enter" && !present()) return;
    if (press(name(event))) event.preventDefault();
  });

  // -- the list of them
  const MOVES = [["j", "Next"], ["k", "Previous"], ["x", "Tick"], ["o", "Open"]];
  const WORDS = { Escape: "Esc", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "Space" };

  function drawn(sequence) {
    const keys = document.createElement("span");
    keys.className = "keys";
    for (const one of sequence.split(" ")) {
      const key = document.createElement("kbd");
      key.textContent = WORDS[one] || (one.length === 1 && one === one.toLowerCase() ? one.toUpperCase() : one.length === 1 ? `⇧ ${one}` : one);
      keys.append(key);
    }
    return keys;
  }

  function label(element) {
    const named = element.dataset.keyLabel || element.getAttribute("aria-label");
    if (named) return named;
    const words = [...element.childNodes].filter((one) => !(one instanceof Element && one.matches(".keys, svg, .unseen")));
    const text = words.map((one) => one.textContent).join(" ").replace(/\s+/g, " ").trim();
    const of = element.labels && element.labels[0];
    return text || (of ? of.textContent.trim() : "") || element.title || element.placeholder || element.name || "?";
  }

  function section(title, entries) {
    const made = document.createElement("section");
    const head = document.createElement("h3");
    const list = document.createElement("dl");
    head.textContent = title;
    for (const [keys, words] of entries) {
      const [pair, key, told] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      key.append(drawn(keys));
      told.textContent = words;
      pair.append(key, told);
      list.append(pair);
    }
    made.append(head, list);
    return made;
  }

  // What this page offers, each key once.
  function offers() {
    const byKey = new Map();
    for (const one of offered("[data-key]", document)) byKey.set(one.dataset.key, [...(byKey.get(one.dataset.key) || []), one]);
    const all = [...byKey].map(([key, found]) => [key, best(found)]);
    const going = all.filter(([key]) => key.startsWith("g ")).map(([key, one]) => [key, label(one)]);
    const here = all.filter(([key, one]) => !key.startsWith("g ") && one.closest("main")).map(([key, one]) => [key, label(one)]);
    const rest = all.filter(([key, one]) => !key.startsWith("g ") && !one.closest("main")).map(([key, one]) => [key, label(one)]);
    const listed = rows();
    const own = new Map();
    for (const row of listed) for (const one of row.querySelectorAll("[data-row-key]")) own.set(one.dataset.rowKey, label(one));
    const ticks = listed.some((row) => row.querySelector("input[type=checkbox]"));
    const moves = listed.length ? MOVES.filter(([key]) => key !== "x" || ticks) : [];
    return [
      ["On this page", here],
      ["In the list", [...moves, ...own]],
      ["Go to", going],
      ["Everywhere", [...rest, ["?", "This list"], ["Escape", "Close, or leave a field"]]],
    ].filter(([, entries]) => entries.length);
  }

  function help() {
    const made = document.createElement("dialog");
    made.className = "dialog wide";
    made.setAttribute("aria-labelledby", "keys-title");
    const [head, title, close, body] = ["header", "h2", "button", "div"].map((tag) => document.createElement(tag));
    title.id = "keys-title";
    title.textContent = "Keyboard shortcuts";
    close.className = "button plain small";
    close.textContent = "Close";
    close.dataset.key = "?";
    close.addEventListener("click", () => made.close());
    body.className = "dialog-body key-list";
    body.tabIndex = 0;
    body.append(...offers().map(([words, entries]) => section(words, entries)));
    head.append(title, close);
    made.append(head, body);
    made.addEventListener("close", () => made.remove());
    document.body.append(made);
    made.showModal();
    close.focus();
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-keys-help]")) help();
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const one of document.querySelectorAll("[data-keys-help]")) one.hidden = false;
  });
})();
