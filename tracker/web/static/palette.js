// The palette (⌘K, Ctrl K, or any [data-palette]): jump to a page, a box, a contact, or begin something. On the page of
// the search, the arrows go from the field to what was found. And once, the browser says which time zone it is in.
"use strict";

(() => {
  const ADDRESS = "/search/palette";
  const WAIT_MS = 100;
  let dialog = null;
  let asked = null;
  let timer = 0;

  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const input = () => dialog.querySelector("input");
  const lines = () => (dialog ? [...dialog.querySelectorAll("[role=option]")] : []); // it may close while one waits

  function select(line) {
    for (const one of lines()) one.setAttribute("aria-selected", String(one === line));
    if (!line) {
      input().removeAttribute("aria-activedescendant");
      return;
    }
    input().setAttribute("aria-activedescendant", line.id);
    line.scrollIntoView({ block: "nearest" });
  }

  async function look() {
    clearTimeout(timer);
    if (asked) asked.abort();
    asked = new AbortController();
    const here = dialog;
    if (!here) return;
    try {
      const response = await fetch(`${ADDRESS}?${new URLSearchParams({ q: input().value })}`, { headers: { "HX-Request": "true" }, signal: asked.signal });
      if (response.headers.has("HX-Redirect")) window.location.assign(response.headers.get("HX-Redirect"));
      const found = await response.text();
      if (!response.ok || dialog !== here) return;
      here.querySelector("[role=listbox]").innerHTML = found;
    } catch (error) {
      return; // another question came meanwhile, or there is no connection: what is listed stays
    }
    window.tracker.byUse(here.querySelectorAll("[data-pipeline]"));
    lines().forEach((line, number) => { line.id = `jump-${number}`; });
    select(lines()[0]);
  }

  function open() {
    if (dialog) return;
    const field = make("input", { type: "text", role: "combobox", "aria-expanded": "true", "aria-controls": "jumps", "aria-autocomplete": "list", "aria-label": "Search or jump to", placeholder: "Search or jump to …", autocomplete: "off", spellcheck: "false", maxlength: "200" });
    const list = make("div", { role: "listbox", id: "jumps", "aria-label": "Where to", class: "jumps" });
    dialog = make("dialog", { class: "palette", "aria-label": "Search or jump to" }, field, list);
    dialog.addEventListener("close", () => {
      clearTimeout(timer);
      asked?.abort();
      dialog.remove();
      dialog = null;
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(look, WAIT_MS);
    });
    field.addEventListener("keydown", async (event) => {
      if (event.isComposing) return;
      const all = lines();
      const at = all.findIndex((line) => line.getAttribute("aria-selected") === "true");
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (all.length) select(all[(at + (event.key === "ArrowDown" ? 1 : -1) + all.length) % all.length]);
      } else if (event.key === "Enter") {
        event.preventDefault();
        await look(); // what was typed last counts, not what was listed before
        const chosen = lines().find((line) => line.getAttribute("aria-selected") === "true");
        const kept = at > 0 && all[at] ? lines().find((line) => line.href === all[at].href) : null;
        if (kept || chosen) (kept || chosen).click();
      }
    });
    list.addEventListener("click", (event) => {
      const line = event.target.closest("a");
      if (line && !event.ctrlKey && !event.metaKey) dialog.close();
    });
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
    look();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    if (!document.querySelector("meta[name=csrf-token]")) return; // nobody is signed in
    event.preventDefault();
    if (dialog) dialog.close();
    else open();
  });
  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || !event.target.closest("[data-palette]")) return;
    event.preventDefault();
    const side = document.getElementById("side");
    if (side && side.matches(":popover-open")) side.hidePopover();
    open();
  });

  // -- the page of the search
  document.addEventListener("keydown", (event) => {
    if (!["ArrowDown", "ArrowUp"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    const active = document.activeElement;
    const field = document.querySelector("[data-search]");
    if (!field || !(active === field || active.closest("#found [data-row]"))) return;
    const all = [...document.querySelectorAll("#found [data-row-main]")];
    const at = all.indexOf(active) + (event.key === "ArrowDown" ? 1 : -1);
    if (at >= all.length || (active === field && event.key === "ArrowUp")) return;
    event.preventDefault();
    (at < 0 ? field : all[at]).focus();
  });

  // -- where the person is; the server keeps what they chose
  document.addEventListener("DOMContentLoaded", () => {
    const asks = document.querySelector("[data-learn-zone]");
    const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (!asks || !zone || zone === "UTC") return;
    window.tracker.post(asks.dataset.learnZone, { time_zone: zone }).catch(() => {}); // asked again on the next page
  });
})();
