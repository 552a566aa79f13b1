// The notices of /components, where no page is there to make them.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("main button[type=button]");
  if (!button) return;
  const words = button.textContent.trim();
  const undo = { url: window.location.pathname, fields: { undone: "1" }, seconds: 10, done: () => window.tracker.notice("Taken back") };
  if (words === "Undo, please") window.tracker.notice("Moved to Lead", "done", { undo });
  else if (words === "Say it") window.tracker.notice("Saved");
  else if (words === "Say it went wrong") window.tracker.notice("That did not work; load the page again", "failed");
  else if (button.dataset.notice) window.tracker.notice(button.dataset.notice);
});
