// The table: cells that are gone over with the arrow keys and edited where they stand, rows that are ticked, columns
// that are dragged. All listeners are the document's own: rows come and go.
"use strict";

(() => {
  const table = () => document.querySelector("[data-table]");
  const cellOf = (node) => (node && node.closest ? node.closest("[data-table] tbody [data-col]") : null);
  const rowOf = (cell) => cell.closest("tr[data-box]");
  const formOf = (cell) => cell.querySelector(".cell-edit");
  let active = null; // {box, col}: the cell that has the focus, or had it before its row was made again
  let lastTick = null;
  let pointer = false; // whether the last thing that happened came from a mouse or a finger

  // -- going from cell to cell
  function find(place) {
    const row = place && document.getElementById(`row-${place.box}`);
    return row ? [...row.querySelectorAll("[data-col]")].find((one) => one.dataset.col === place.col) : null;
  }
  function focus(cell) {
    if (!cell) return;
    for (const one of document.querySelectorAll("[data-table] tbody [data-col][tabindex='0']")) one.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  function beside(cell, right, down) {
    const rows = [...table().querySelectorAll("tr[data-box]")];
    const row = rows[rows.indexOf(rowOf(cell)) + down];
    if (!row) return null;
    const cells = [...row.querySelectorAll("[data-col]")];
    return cells[[...rowOf(cell).querySelectorAll("[data-col]")].indexOf(cell) + right] || null;
  }
  // Tab goes on to the next cell that can be edited, and to the next row behind the last.
  function next(cell, by) {
    const all = [...table().querySelectorAll("tr[data-box] [data-edit]")];
    return all[all.indexOf(cell) + by] || null;
  }
  document.addEventListener("focusin", (event) => {
    const cell = cellOf(event.target);
    if (cell && rowOf(cell)) active = { box: rowOf(cell).dataset.box, col: cell.dataset.col };
  });

  // -- editing
  function address(cell) {
    const { cells, query } = table().dataset;
    return `${cells}${rowOf(cell).dataset.box}/${cell.dataset.col}${query ? `?${query}` : ""}`;
  }
  async function fetched(url, options = {}) {
    const headers = { "HX-Request": "true", ...options.headers };
    const answer = await fetch(url, { ...options, headers });
    if (answer.headers.get("HX-Redirect")) window.location = answer.headers.get("HX-Redirect");
    return answer;
  }
  function fill(cell, html) {
    if (!cell.dataset.shown) cell.dataset.shown = cell.innerHTML;
    cell.innerHTML = html;
    cell.classList.add("editing");
    const input = cell.querySelector("[name=value]");
    input.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    return input;
  }
  async function edit(cell) {
    if (!cell || !cell.hasAttribute("data-edit") || formOf(cell) || cell.getAttribute("aria-busy")) return;
    const byPointer = pointer;
    cell.setAttribute("aria-busy", "true");
    try {
      const answer = await fetched(address(cell));
      if (!answer.ok) throw new Error(answer.status === 404 ? "This box is gone from the table; load the page again" : "That did not work; try again");
      const input = fill(cell, await answer.text());
      if (input.select) input.select();
      if (byPointer && input.matches("select, [type=date]")) open(input);
    } catch (error) {
      window.tracker.notice(error.message, "failed");
    } finally {
      cell.removeAttribute("aria-busy");
    }
  }
  function open(input) {
    try {
      input.showPicker();
    } catch {
      // the browser opens it only right after a click; a second one does
    }
  }
  function restore(cell) {
    if (!formOf(cell)) return;
    formOf(cell).dataset.saving = "never"; // that it goes is no wish to save it
    cell.innerHTML = cell.dataset.shown || "";
    delete cell.dataset.shown;
    cell.classList.remove("editing");
  }
  function unchanged(form) {
    const input = form.elements.value;
    const now = input.type === "checkbox" ? (input.checked ? "yes" : "") : input.value.trim();
    return now === form.elements.was.value.trim() && !form.querySelector(".refused");
  }
  // Saves, and gives back the cell as it is then; nothing if it could not be saved.
  async function save(cell) {
    const form = formOf(cell);
    if (!form) return cell;
    if (form.dataset.saving) return null;
    if (unchanged(form)) {
      restore(cell);
      return cell;
    }
    form.dataset.saving = "true";
    cell.setAttribute("aria-busy", "true");
    const place = { box: rowOf(cell).dataset.box, col: cell.dataset.col };
    try {
      const token = document.querySelector("meta[name=csrf-token]").content;
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetched(form.action + window.location.search, { method: "POST", headers: { "X-CSRFToken": token }, body });
      const html = await answer.text();
      if (answer.ok) {
        renew(rowOf(cell), html);
        return find(place);
      }
      if (answer.status !== 422 && answer.status !== 409) throw new Error("Not saved; what you typed is still here. Try again");
      fill(cell, html);
    } catch (error) {
      delete form.dataset.saving;
      window.tracker.notice(error.message, "failed");
    } finally {
      cell.removeAttribute("aria-busy");
    }
    return null;
  }
  function renew(row, html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const made = holder.content.querySelector("tr");
    const ticked = row.querySelector("[name=box]").checked;
    row.replaceWith(made);
    made.querySelector("[name=box]").checked = ticked;
    made.dispatchEvent(new CustomEvent("htmx:load", { bubbles: true, detail: { elt: made } }));
  }

  document.addEventListener("click", (event) => {
    const cell = cellOf(event.target);
    if (!cell || !rowOf(cell) || formOf(cell) || event.target.closest("a, button, input, label")) return;
    if (String(window.getSelection())) return; // somebody marks text
    focus(cell);
    edit(cell);
  });
  document.addEventListener("pointerdown", () => { pointer = true; }, true);
  document.addEventListener("keydown", () => { pointer = false; }, true);

  document.addEventListener("submit", (event) => {
    const cell = cellOf(event.target);
    if (!cell || !event.target.matches(".cell-edit")) return;
    event.preventDefault();
    save(cell).then(focus);
  });
  document.addEventListener("change", (event) => {
    const cell = cellOf(event.target);
    if (cell && formOf(cell) && (event.target.type === "checkbox" || (pointer && event.target.matches("select")))) save(cell).then(focus);
  });
  // Whoever leaves a cell means what they typed.
  document.addEventListener("focusout", (event) => {
    const cell = cellOf(event.target);
    if (!cell || !formOf(cell) || cell.contains(event.relatedTarget) || !document.hasFocus()) return;
    if (!formOf(cell).querySelector(".refused")) save(cell);
  });

  function typing(event, cell) {
    const done = { Enter: [0, 1], Tab: null }[event.key];
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      restore(cell);
      focus(cell);
    } else if (event.key === "Enter" && !event.isComposing && !(event.shiftKey && event.target.matches("textarea"))) {
      event.preventDefault();
      setTimeout(() => save(cell).then((saved) => saved && focus(beside(saved, ...done) || saved)));
    } else if (event.key === "Tab") {
      event.preventDefault();
      const by = event.shiftKey ? -1 : 1;
      save(cell).then((saved) => {
        const there = saved && next(saved, by);
        if (!saved) return;
        focus(there || saved);
        if (there) edit(there);
      });
    }
  }
  const STEPS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
  document.addEventListener("keydown", (event) => {
    const cell = cellOf(event.target);
    if (!cell || !rowOf(cell) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (formOf(cell)) {
      typing(event, cell);
      return;
    }
    const onCell = event.target === cell;
    if (STEPS[event.key]) {
      const there = beside(cell, ...STEPS[event.key]);
      event.preventDefault();
      focus(there);
    } else if (event.key === "Home" || event.key === "End") {
      const cells = [...rowOf(cell).querySelectorAll("[data-col]")];
      event.preventDefault();
      focus(event.key === "Home" ? cells[0] : cells[cells.length - 1]);
    } else if (event.key === "F2" || (onCell && event.key === "Enter")) {
      event.preventDefault();
      if (onCell && event.key === "Enter" && !cell.hasAttribute("data-edit")) rowOf(cell).querySelector("[data-row-main]").click();
      else edit(cell);
    } else if (onCell && event.key === " ") {
      event.preventDefault();
      rowOf(cell).querySelector("[name=box]").click();
    }
  }, true);

  // -- several rows
  const boxes = () => [...document.querySelectorAll("[data-table] tbody [name=box]")];
  function count() {
    const shown = document.querySelector("[data-bulk-count]");
    if (!shown) return;
    const ticked = boxes().filter((one) => one.checked).length;
    const words = ticked ? `${ticked} ticked:` : "None ticked";
    if (shown.textContent !== words) shown.textContent = words;
    document.querySelector("[data-untick]").hidden = !ticked;
    const all = document.querySelector("[data-tick-all]");
    all.checked = ticked > 0 && ticked === boxes().length;
    all.indeterminate = ticked > 0 && !all.checked;
  }
  document.addEventListener("click", (event) => {
    const all = boxes();
    if (event.target.matches("[data-untick]")) {
      for (const one of all) one.checked = false;
      count();
      return;
    }
    if (!event.target.matches("[data-table] tbody [name=box]")) return;
    const from = all.findIndex((one) => one.value.split(":")[0] === lastTick);
    const to = all.indexOf(event.target);
    if (event.shiftKey && from >= 0) {
      for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) one.checked = event.target.checked;
    }
    lastTick = event.target.value.split(":")[0];
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-tick-all]")) for (const one of boxes()) one.checked = event.target.checked;
    if (event.target.matches("[name=box], [data-tick-all]")) count();
  });

  // -- heads: with Shift, sorted by it as well
  document.addEventListener("click", (event) => {
    const head = event.target.closest && event.target.closest("[data-also]");
    if (!head || !event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    window.htmx.ajax("GET", head.dataset.also, { source: head, target: "#table-page", select: "#table-page", swap: "outerHTML" });
  }, true);

  // -- columns: dragged, or moved with Alt and the arrows
  function prepare() {
    const list = document.querySelector("[data-column-list]");
    if (list && !list.classList.contains("can-drag") && window.Sortable) {
      list.classList.add("can-drag");
      window.Sortable.create(list, { handle: ".grip", animation: 120, ghostClass: "ghost" });
    }
    count();
  }
  document.addEventListener("keydown", (event) => {
    const entry = event.altKey && event.target.closest && event.target.closest("[data-column]");
    if (!entry || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    const there = event.key === "ArrowUp" ? entry.previousElementSibling : entry.nextElementSibling;
    if (!there) return;
    if (event.key === "ArrowUp") there.before(entry);
    else there.after(entry);
    entry.querySelector("input").focus();
  });

  // -- rows that were made again: what was ticked and where one was stays
  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (!event.detail.target || event.detail.target.id !== "table-rows") return;
    const cell = cellOf(document.activeElement);
    kept = { ticked: new Set(boxes().filter((one) => one.checked).map((one) => one.value.split(":")[0])), place: cell ? active : null };
  });
  document.addEventListener("htmx:afterSettle", () => {
    const body = document.getElementById("table-rows");
    if (kept && body) {
      for (const one of boxes()) one.checked = kept.ticked.has(one.value.split(":")[0]);
      if (kept.place) focus(find(kept.place));
      kept = null;
    }
    if (body) {
      // whoever has scrolled far gets as many rows again when something changes
      const url = new URL(body.dataset.liveUrl, window.location);
      url.searchParams.set("shown", String(Math.min(500, boxes().length)));
      body.dataset.liveUrl = url.pathname + url.search;
    }
    if (table()) prepare();
  });
  document.addEventListener("DOMContentLoaded", () => { if (table()) prepare(); });
})();
