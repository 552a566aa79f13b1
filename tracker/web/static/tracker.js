// Niceties; every page works without them.
"use strict";

(() => {
  const timeOf = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const dayOf = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const yearOf = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
  const wholeOf = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "short" });

  // Instants in the reader's own zone.
  function localise(root) {
    for (const element of root.querySelectorAll("time[data-time]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const now = new Date();
      const today = at.toDateString() === now.toDateString();
      const day = at.getFullYear() === now.getFullYear() ? dayOf : yearOf;
      element.textContent = today && element.dataset.time === "short" ? timeOf.format(at) : day.format(at);
      element.title = wholeOf.format(at);
    }
  }

  // A menu closes on Escape, and when something else is clicked.
  function closeMenus(except) {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (menu !== except) menu.open = false;
    }
  }
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const open = document.querySelector("details.menu[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });

  // A list that is changed is sent at once; its button is for those without scripts.
  function prepare(root) {
    for (const list of root.querySelectorAll("select[data-submit]")) {
      const button = list.form.querySelector("button");
      if (button) button.hidden = true;
      list.addEventListener("change", () => list.form.requestSubmit());
    }
    localise(root);
  }

  // In a row that is wider than the window, what is current is in sight.
  function reveal() {
    for (const current of document.querySelectorAll(".nav [aria-current], .stages [aria-current]")) {
      const row = current.parentElement;
      const [inner, outer] = [current.getBoundingClientRect(), row.getBoundingClientRect()];
      row.scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
    }
  }

  // The inbox says how many conversations are ticked.
  function count() {
    const shown = document.querySelector("[data-ticked]");
    if (!shown) return;
    const ticked = document.querySelectorAll(".rows input[type=checkbox]:checked").length;
    shown.textContent = ticked ? `${ticked} ticked:` : "Tick conversations, then";
  }
  document.addEventListener("change", count);

  window.tracker = {
    notice(words, kind) {
      const notice = document.createElement("p");
      notice.className = `notice ${kind}`;
      notice.textContent = words;
      document.getElementById("notices").replaceChildren(notice);
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
  };

  document.addEventListener("DOMContentLoaded", () => {
    prepare(document);
    reveal();
    count();
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement || event.detail.elt));
})();
