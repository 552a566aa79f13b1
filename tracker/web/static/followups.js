// Follow-ups: acts on an entry without leaving the page; the next one gets the focus, the notice takes it back.
"use strict";

(() => {
  const list = () => document.getElementById("followups-list");
  const rows = () => [...list().querySelectorAll("[data-row]")];

  function focus(row) {
    if (!row) return;
    row.querySelector("[data-row-main]").focus({ focusVisible: true, preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }
  async function refresh(id) {
    await window.htmx.ajax("GET", list().dataset.liveUrl, { source: list(), target: "#followups-list", swap: "outerHTML" });
    const active = document.activeElement;
    if (!active || active === document.body) focus(document.getElementById(id) || rows()[0]);
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.id !== "followups" || !event.submitter) return;
    event.preventDefault();
    const row = event.submitter.closest("[data-row]");
    const all = rows();
    const next = all[all.indexOf(row) + 1] || all[all.indexOf(row) - 1];
    let answer;
    try {
      answer = await window.tracker.post(event.submitter.getAttribute("formaction"), [...new FormData(form, event.submitter)]);
    } catch (error) {
      window.tracker.notice(error.message, "failed");
      return;
    }
    const key = row.id;
    const part = row.closest("section");
    row.remove();
    if (!part.querySelector("[data-row]") || !rows().length) await refresh(next && next.id);
    else focus(next);
    window.tracker.notice(answer.words, "done", {
      undo: { url: "/undo", fields: { ticket: answer.undo }, done: () => { window.tracker.notice("Undone"); refresh(key); } },
    });
  }, true);

  // In an open menu the arrows go from one to the next; s and m open it at its first.
  document.addEventListener("toggle", (event) => {
    const menu = event.target;
    if (!(menu instanceof HTMLDetailsElement) || !menu.closest("#followups-list") || !menu.open) return;
    const first = menu.querySelector(".menu-body button");
    if (first) first.focus();
  }, true);
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest && event.target.closest("#followups-list details[open]");
    if (!menu || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const all = [...menu.querySelectorAll(".menu-body button")];
    const at = all.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    all[(at + all.length) % all.length].focus();
  });
})();
