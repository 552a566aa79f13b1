// Lists whose order is changed by dragging: the order is sent where `data-sortable` says.
"use strict";

(() => {
  function prepare(root) {
    for (const list of root.querySelectorAll("[data-sortable]")) {
      if (window.Sortable.get(list)) continue;
      list.classList.add("can-drag");
      const sortable = window.Sortable.create(list, {
        handle: ".grip",
        animation: 120,
        dataIdAttr: "data-sort-id",
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
  }

  // Sortable keeps a list of all that it was put on: what htmx takes off the page goes from there too.
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    const target = event.detail.elt || event.target;
    if (target.matches?.("[data-sortable]")) window.Sortable.get(target)?.destroy();
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement || event.detail.elt));
  document.addEventListener("DOMContentLoaded", () => prepare(document));
})();
