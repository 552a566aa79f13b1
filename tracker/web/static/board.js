// Dragging: cards between the stages of a board, stages in a pipeline's settings.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  function recount(list) {
    const counter = list.closest(".column").querySelector("[data-count]");
    return (by) => {
      counter.textContent = (Number(counter.textContent.replace(/\D/g, "")) + by).toLocaleString("en");
    };
  }

  async function moved(event) {
    const { item, from, to, oldIndex } = event;
    if (from === to) return;
    to.prepend(item);
    recount(from)(-1);
    recount(to)(1);
    try {
      const answer = await window.tracker.post(item.dataset.move, {
        stage: to.dataset.stage,
        version: item.dataset.version,
      });
      item.dataset.version = answer.version;
      window.tracker.notice(`Moved to ${to.dataset.name}`, "done");
    } catch (error) {
      from.insertBefore(item, from.children[oldIndex] || null);
      recount(from)(1);
      recount(to)(-1);
      window.tracker.notice(error.message, "failed");
    }
  }

  // Links to the stages, for a board that is wider than the window.
  const board = document.querySelector("[data-board]");
  const jump = document.querySelector("[data-jump]");
  if (board && jump) {
    new ResizeObserver(() => {
      jump.hidden = board.scrollWidth <= board.clientWidth;
      board.tabIndex = jump.hidden ? -1 : 0;
    }).observe(board);
  }

  for (const list of document.querySelectorAll("[data-board] .cards")) {
    window.Sortable.create(list, {
      group: "board",
      draggable: ".card",
      sort: false,
      animation: 120,
      delay: 150,
      delayOnTouchOnly: true,
      ghostClass: "ghost",
      onEnd: moved,
    });
  }

  for (const list of document.querySelectorAll("[data-sortable]")) {
    list.classList.add("can-drag");
    const sortable = window.Sortable.create(list, {
      handle: ".grip",
      animation: 120,
      dataIdAttr: "data-key",
      async onEnd() {
        try {
          await window.tracker.post(list.dataset.sortable, { order: sortable.toArray().join(",") });
          window.tracker.notice("Order saved", "done");
        } catch (error) {
          window.tracker.notice(error.message, "failed");
        }
      },
    });
  }
});
