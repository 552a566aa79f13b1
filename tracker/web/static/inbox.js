// The inbox: acts on the row that has the focus, or on all that are ticked, without leaving the page. What an act took
// out of the list is gone at once, the next row gets the focus, and the notice takes it back.
"use strict";

(() => {
  const $ = (selector) => document.querySelector(selector);
  const form = () => document.getElementById("inbox");
  const list = () => document.getElementById("inbox-list");
  const rows = () => (list() ? [...list().querySelectorAll("[data-row]")] : []);
  const tickOf = (row) => row.querySelector(".tick input");
  const ticked = () => rows().filter((row) => tickOf(row).checked);
  const rowOf = (key) => document.getElementById(`row-${key}`);
  let byMouse = false; // whether the button that sends the form was clicked on
  let borrowed = null; // the row that was ticked only for b or s

  function tick(row, on) {
    const box = tickOf(row);
    if (box.checked === on) return;
    box.checked = on;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function focus(row) {
    if (!row) return;
    row.querySelector("[data-row-main]").focus({ focusVisible: true, preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  // The row after these, else the one before them.
  function nextTo(those) {
    const all = rows();
    const at = those.map((row) => all.indexOf(row)).filter((number) => number >= 0);
    if (!at.length) return null;
    const left = (row) => !those.includes(row);
    return all.slice(Math.max(...at) + 1).find(left) || all.slice(0, Math.min(...at)).reverse().find(left) || null;
  }

  function tell(counts) {
    for (const [name, number] of Object.entries(counts || {})) {
      const shown = $(`[data-count="${name}"]`);
      if (shown) shown.textContent = number === "0" ? "" : number;
    }
  }

  // -- the list again, with the ticks and the focus where they were
  let kept = null;
  function keep(focused) {
    const active = document.activeElement && document.activeElement.closest("#inbox-list [data-row]");
    kept = { ticked: ticked().map((row) => row.dataset.row), focused: focused || (active ? active.dataset.row : "") };
  }
  function restore() {
    if (!kept || !list()) return;
    for (const key of kept.ticked) if (rowOf(key)) tick(rowOf(key), true);
    if (kept.focused && (document.activeElement === document.body || !document.activeElement)) focus(rowOf(kept.focused));
    kept = null;
    const { unfiled, answer, snoozed } = list().dataset;
    tell({ unfiled, answer, snoozed });
    prepare();
  }
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target && event.detail.target.id === "inbox-list" && !kept) keep();
  });
  document.addEventListener("htmx:afterSwap", () => setTimeout(restore));

  function refresh(focused) {
    if (!list()) return Promise.resolve();
    keep(focused);
    return window.htmx.ajax("GET", list().dataset.liveUrl, { source: list(), target: "#inbox-list", swap: "outerHTML" });
  }

  // -- acts
  async function act(address, fields, those) {
    const next = nextTo(those);
    const key = next && next.dataset.row;
    let answer;
    try {
      answer = await window.tracker.post(address, fields);
    } catch (error) {
      window.tracker.notice(error.message, "failed");
      return;
    }
    borrowed = null;
    const given = new Map(fields);
    if (given.get("into") === "new") window.tracker.remember(given.get("pipeline"));
    preselect();
    const active = document.activeElement;
    const free = !active || active === document.body || active.closest(".bar") || those.some((row) => row.contains(active));
    for (const row of those) tick(row, false);
    for (const gone of answer.gone || []) if (rowOf(gone)) rowOf(gone).remove();
    close();
    tell(answer.counts);
    if (free) focus(key && rowOf(key) ? rowOf(key) : rows()[0]);
    window.tracker.notice(answer.words, "done", {
      undo: { url: "/undo", fields: { ticket: answer.undo }, done: () => { window.tracker.notice("Undone"); refresh(those[0] && those[0].dataset.row); } },
    });
    if (!(answer.gone || []).length || !rows().length) await refresh(free ? key : "");
  }

  function fieldsOf(submitter, those, extra = []) {
    const own = new Set(["conversation", "only", "choice", "chosen"]);
    const given = [...new FormData(form(), submitter)].filter(([name]) => !own.has(name));
    const several = those.map((row) => ["conversation", row.dataset.row]);
    const choice = submitter && submitter.name === "choice" && those.length === 1 ? [["choice", submitter.value]] : [];
    return [...given, ...several, ...choice, ...extra];
  }

  document.addEventListener("click", (event) => { byMouse = event.detail > 0; }, true);
  document.addEventListener("submit", (event) => {
    if (event.target !== form()) return;
    event.preventDefault(); // before others, who would take a second act in a moment for a form sent twice
    const picked = !$("#picks").hidden && document.activeElement === $("#box") && $("#picks [aria-selected=true]");
    if (picked) {
      choose(picked);
      return;
    }
    const submitter = event.submitter;
    const row = submitter && submitter.closest("[data-row]");
    const all = ticked();
    const those = row && (byMouse || !all.length) ? [row] : all;
    const chosen = [...form().querySelectorAll("[name=chosen]:checked")].map((one) => ["chosen", one.value]);
    const into = submitter && submitter.name === "into" ? submitter.value : "";
    act((submitter && submitter.getAttribute("formaction")) || form().action, fieldsOf(submitter, those, into === "box" ? chosen : []), those);
  }, true);

  // -- b and s: the row that has the focus, unless others are ticked
  function borrow(row) {
    if (ticked().length) return;
    borrowed = row;
    tick(row, true);
  }
  function giveBack() {
    if (!borrowed) return;
    const row = borrowed;
    borrowed = null;
    tick(row, false);
    focus(row);
  }
  function close() {
    const menu = $("[data-snoozer]");
    if (menu) menu.open = false;
    const input = $("#box");
    if (input) input.value = "";
    hide();
  }
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-with]");
    if (!opener || !form()) return;
    event.preventDefault();
    borrow(opener.closest("[data-row]"));
    if (opener.dataset.with === "box") {
      $("#box").focus();
    } else {
      $("[data-snoozer]").open = true;
      $("[data-snoozer] button").focus();
    }
    event.stopPropagation(); // this click would close the menu
  }, true);
  document.addEventListener("toggle", (event) => {
    if (event.target.matches && event.target.matches("[data-snoozer]") && !event.target.open) giveBack();
  }, true);
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest && event.target.closest("[data-snoozer][open]");
    if (!menu || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    const all = [...menu.querySelectorAll(".menu-body :is(button, input)")];
    const at = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    all[(at + all.length) % all.length].focus();
    event.preventDefault();
  });

  // -- the picker: boxes under the field, as they are typed
  let asked = null;
  let timer = 0;
  const options = () => [...document.querySelectorAll("#picks [role=option]")];

  function hide() {
    clearTimeout(timer);
    if (asked) asked.abort();
    const picks = document.getElementById("picks");
    if (!picks) return;
    picks.hidden = true;
    $("#box").setAttribute("aria-expanded", "false");
    $("#box").removeAttribute("aria-activedescendant");
  }
  function select(option) {
    for (const one of options()) one.setAttribute("aria-selected", String(one === option));
    if (!option) return;
    $("#box").setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }
  async function look() {
    const input = $("#box");
    if (asked) asked.abort();
    asked = new AbortController();
    const those = ticked();
    const wanted = new URLSearchParams({ box: input.value, for: those.length === 1 ? those[0].dataset.row : "" });
    try {
      const response = await fetch(`${$("[data-picker]").dataset.picker}?${wanted}`, { headers: { "HX-Request": "true" }, signal: asked.signal });
      if (!response.ok) return;
      $("#picks").innerHTML = await response.text();
      window.tracker.byUse(document.querySelectorAll("#picks [data-pipeline]"));
    } catch (error) {
      return; // another question came meanwhile
    }
    if (document.activeElement !== input) return;
    $("#picks").hidden = false;
    input.setAttribute("aria-expanded", "true");
    select(options()[0]);
  }
  function choose(option) {
    const typed = $("#box").value;
    const into = option.dataset.chosen ? [["into", "box"], ["chosen", option.dataset.chosen]] : [["into", "new"], ["pipeline", option.dataset.pipeline], ["box", typed]];
    const fields = fieldsOf(null, ticked()).filter(([name]) => !["box", "pipeline"].includes(name));
    act(form().action, [...fields, ...into], ticked());
  }
  document.addEventListener("focusin", (event) => { if (event.target.id === "box" && form()) look(); });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "box" || !form()) return;
    clearTimeout(timer);
    timer = setTimeout(look, 120);
  });
  document.addEventListener("focusout", (event) => {
    if (event.target.id !== "box" || !form() || !document.hasFocus()) return;
    setTimeout(hide, 150); // a click on one of them comes first
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target.closest("#picks")) event.preventDefault(); // the field keeps the focus
  });
  document.addEventListener("click", (event) => {
    const option = event.target.closest("#picks [role=option]");
    if (option) choose(option);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.id !== "box" || !form() || event.isComposing) return;
    const all = options();
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      hide();
      if (borrowed) giveBack();
      else event.target.blur();
    } else if (["ArrowDown", "ArrowUp"].includes(event.key) && !$("#picks").hidden && all.length) {
      event.preventDefault();
      const at = all.findIndex((one) => one.getAttribute("aria-selected") === "true") + (event.key === "ArrowDown" ? 1 : -1);
      select(all[(at + all.length) % all.length]);
    }
  }, true);

  // -- ticks: all of them, and from one to another with Shift
  let lastTick = null;
  document.addEventListener("click", (event) => {
    if (event.target.matches("[data-all]")) {
      for (const row of rows()) tick(row, event.target.checked);
      return;
    }
    const row = event.target.matches(".tick input") ? event.target.closest("#inbox-list [data-row]") : null;
    if (!row) return;
    const all = rows();
    if (event.shiftKey && lastTick && all.includes(lastTick)) {
      const [from, to] = [all.indexOf(lastTick), all.indexOf(row)].sort((a, b) => a - b);
      for (const one of all.slice(from, to + 1)) tick(one, event.target.checked);
    }
    lastTick = row;
  });

  // A new box goes, unless somebody says otherwise, where the last one went.
  function preselect() {
    const list = $("#pipeline");
    const last = window.tracker.madeIn().find((key) => list && [...list.options].some((one) => one.value === key));
    if (last) list.value = last;
  }

  function prepare() {
    if (!form()) return;
    for (const one of form().querySelectorAll("[data-with], [data-all]")) one.hidden = false;
    const input = $("#box");
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-controls", "picks");
    input.setAttribute("aria-autocomplete", "list");
    if (!input.hasAttribute("aria-expanded")) input.setAttribute("aria-expanded", "false");
  }
  document.addEventListener("DOMContentLoaded", () => {
    prepare();
    if (form() && !$("#pipeline option[selected]")) preselect(); // what was refused stands there as it was
  });
})();
