// What all pages share; every page works without it. All listeners are the document's own, so that nothing is left
// behind when htmx swaps a part of the page, and a page may stay open for a day.
"use strict";

(() => {
  const timeOf = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const dayOf = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const yearOf = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
  const momentOf = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const wholeOf = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });
  const AGAIN_MS = 2000; // a form that was sent is not sent again for so long

  // Instants in the reader's own zone.
  function localise(root) {
    for (const element of root.querySelectorAll("time[data-time]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const now = new Date();
      const today = at.toDateString() === now.toDateString();
      const day = at.getFullYear() === now.getFullYear() ? dayOf : yearOf;
      if (element.dataset.time === "whole") element.textContent = momentOf.format(at);
      else element.textContent = today && element.dataset.time === "short" ? timeOf.format(at) : day.format(at);
      element.title = wholeOf.format(at);
    }
  }

  // A menu closes on Escape, and when something else is clicked.
  function closeMenus(except) {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (menu !== except && !menu.contains(except)) menu.open = false;
    }
  }
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    const open = document.querySelector("details.menu[open]");
    if (!open) return;
    event.preventDefault();
    open.open = false;
    open.querySelector("summary").focus();
  });

  // Dialogs. One that the server shows open, or that the address names, becomes a modal one.
  function show(dialog) {
    if (dialog.open) dialog.close();
    dialog.showModal();
    const body = dialog.querySelector(".dialog-body") || dialog;
    const first = body.querySelector("[autofocus], [aria-invalid=true]") || body.querySelector("input:not([type=hidden]), select, textarea, button, a[href]");
    if (first) first.focus();
  }
  function inside(box, event) {
    return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
  }
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const opener = event.target.closest("[data-dialog]");
    const dialog = opener && document.getElementById(opener.dataset.dialog);
    if (dialog instanceof HTMLDialogElement) {
      event.preventDefault();
      closeMenus(null);
      show(dialog);
      return;
    }
    const around = event.target.closest("dialog[open]");
    if (!around) return;
    const beside = event.target === around && around.matches(".dialog") && !inside(around.getBoundingClientRect(), event);
    if (beside || event.target.closest("[data-dialog-close]")) {
      event.preventDefault();
      around.close();
    }
  });

  // A text that became an input: see inline_edit in _ui.html.
  function shut(details) {
    details.querySelector("form").reset();
    details.open = false;
  }
  function changed(form) {
    return [...form.elements].some((one) =>
      one.type === "hidden" ? false : one.options ? [...one.options].some((each) => each.selected !== each.defaultSelected) : one.value !== (one.defaultValue ?? one.value),
    );
  }
  document.addEventListener(
    "toggle", // does not bubble
    (event) => {
      const details = event.target;
      if (!(details instanceof HTMLDetailsElement) || !details.matches("[data-inline][open]")) return;
      const control = details.querySelector("form :is(input:not([type=hidden]), select, textarea)");
      if (!control) return;
      control.focus();
      if (control.select) control.select();
    },
    true,
  );
  document.addEventListener("keydown", (event) => {
    const details = event.target.closest && event.target.closest("details[data-inline][open]");
    if (!details || event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    shut(details);
    details.querySelector("summary").focus();
  }, true);
  document.addEventListener("focusout", (event) => {
    const details = event.target.closest("details[data-inline][open]");
    if (!details || details.contains(event.relatedTarget) || !document.hasFocus()) return;
    const form = details.querySelector("form");
    if (form.dataset.sent) return;
    if (changed(form)) form.requestSubmit();
    else shut(details);
  });

  // In which pipelines this browser made boxes, the latest first; and elements that stand for pipelines, in that order.
  const MADE_IN = "tracker.made-in";
  function madeIn() {
    try {
      return JSON.parse(localStorage.getItem(MADE_IN) || "[]");
    } catch {
      return []; // nothing may be kept here, or it is not ours
    }
  }
  function remember(key) {
    try {
      localStorage.setItem(MADE_IN, JSON.stringify([key, ...madeIn().filter((one) => one !== key)].slice(0, 9)));
    } catch {
      // then the pipelines stay as they stand
    }
  }
  function byUse(elements) {
    const used = madeIn();
    const rank = (one) => (used.includes(one.dataset.pipeline) ? used.indexOf(one.dataset.pipeline) : used.length);
    const all = [...elements];
    if (all.length < 2) return;
    const place = document.createComment("");
    all[0].before(place);
    place.replaceWith(...all.sort((a, b) => rank(a) - rank(b)));
  }

  // A form is sent once, however often its button is hit.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method === "dialog" || form.method === "get") return;
    if (Date.now() - Number(form.dataset.sent || 0) < AGAIN_MS) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = String(Date.now());
    if (form.dataset.madeIn) remember(form.dataset.madeIn);
    const details = form.closest("details[data-inline]");
    if (details) details.setAttribute("aria-busy", "true");
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // A list that is changed is sent at once; its button is for those without scripts.
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
    count();
  });
  function prepare(root) {
    for (const list of root.querySelectorAll("select[data-submit]")) {
      const button = list.form && list.form.querySelector("button");
      if (button) button.hidden = true;
    }
    localise(root);
  }

  // In a row that is wider than the window, and in a long navigation, what is current is in sight.
  function reveal() {
    for (const current of document.querySelectorAll(".nav [aria-current], .stages [aria-current], .tabs [aria-current]")) {
      const row = current.parentElement;
      const [inner, outer] = [current.getBoundingClientRect(), row.getBoundingClientRect()];
      row.scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
      if (inner.bottom > outer.bottom) row.scrollTop += inner.bottom - outer.bottom;
    }
  }

  // The inbox says how many conversations are ticked.
  function count() {
    const shown = document.querySelector("[data-ticked]");
    if (!shown) return;
    const ticked = document.querySelectorAll(".rows input[type=checkbox]:checked").length;
    shown.textContent = ticked ? `${ticked} ticked:` : "Tick conversations, then";
  }

  // Words to the reader, as the macro `notice` makes them.
  const SHOWN = 3;
  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${document.getElementById("notices").dataset.icons}#${name}`);
    svg.append(use);
    return svg;
  }
  document.addEventListener("animationend", (event) => {
    if (event.animationName === "leave" && event.target.matches(".notice")) event.target.remove();
  });

  async function takeBack(button, notice, undo) {
    button.disabled = true;
    try {
      const answer = await window.tracker.post(undo.url, undo.fields || {});
      notice.remove();
      if (undo.done) undo.done(answer);
      else window.location.reload();
    } catch (error) {
      notice.remove();
      window.tracker.notice(error.message, "failed");
    }
  }

  window.tracker = {
    // kind: done or failed. options.undo: {url, fields, seconds, done(answer)}; without `done` the page is loaded again.
    notice(words, kind = "done", { undo } = {}) {
      const notice = document.createElement("div");
      notice.className = `notice ${kind}${kind === "failed" ? "" : " fleeting"}${undo ? " undoable" : ""}`;
      const told = document.createElement("span");
      told.textContent = words;
      notice.append(icon(kind === "failed" ? "alert" : "done"), told);
      if (undo) {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "button plain small";
        button.textContent = "Undo";
        button.dataset.key = "z";
        button.addEventListener("click", () => takeBack(button, notice, undo));
        notice.append(button);
        if (undo.seconds) notice.style.animationDelay = `${undo.seconds}s`;
      } else if (kind === "failed") {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "button plain faint small square";
        button.setAttribute("aria-label", "Close");
        button.append(icon("close"));
        button.addEventListener("click", () => notice.remove());
        notice.append(button);
      }
      const place = document.getElementById("notices");
      for (const old of [...place.children]) {
        if (old.textContent === notice.textContent || place.childElementCount >= SHOWN) old.remove();
      }
      place.append(notice);
      return notice;
    },
    async post(address, fields) {
      const token = document.querySelector("meta[name=csrf-token]").content;
      const response = await fetch(address, {
        method: "POST",
        headers: { Accept: "application/json", "X-CSRFToken": token },
        body: new URLSearchParams(fields),
      });
      const answer = await response.json().catch(() => ({}));
      if (!response.ok) throw new Error(answer.error || "That did not work; load the page again");
      return answer;
    },
    dialog: show,
    madeIn,
    remember,
    byUse,
  };

  // A menu that the address names is open, with its first field ready; also where the page is there already.
  function openNamed(hash) {
    const named = hash && document.getElementById(hash.slice(1));
    if (!named || !named.matches("details.menu")) return false;
    named.open = true;
    named.querySelector("input:not([type=hidden])")?.focus();
    return true;
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href*='#']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.pathname === window.location.pathname && openNamed(link.hash)) event.preventDefault(); // it would take the focus
  });
  // When it goes to the place that the address names, the browser takes the focus away again, in a frame after the load.
  window.addEventListener("load", () => {
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (document.activeElement === document.body) openNamed(window.location.hash);
    }));
  });

  document.addEventListener("DOMContentLoaded", () => {
    prepare(document);
    reveal();
    count();
    if (/Mac|iPhone|iPad/.test(navigator.platform)) {
      for (const one of document.querySelectorAll("kbd[data-mod]")) one.textContent = one.textContent.replace("Ctrl ", "⌘");
    }
    openNamed(window.location.hash);
    const named = window.location.hash && document.getElementById(window.location.hash.slice(1));
    for (const dialog of document.querySelectorAll("dialog.dialog")) {
      if (dialog.open || dialog === named) show(dialog);
    }
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement || event.detail.elt));
})();
