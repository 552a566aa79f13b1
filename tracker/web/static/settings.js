// A pipeline's settings: whoever picks a colour of their own means that one.
"use strict";

document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-own-color]")) return;
  event.target.closest(".own-color").querySelector("input[type=radio]").checked = true;
});
