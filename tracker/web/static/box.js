// The page of a box: what is changed is sent when it is left, @ suggests teammates, what was unfolded stays so.
"use strict";

(() => {
  // Buttons for those without scripts.
  function prepare(root) {
    for (const button of root.querySelectorAll("[data-by-hand]")) button.hidden = true;
    for (const message of root.querySelectorAll("article.message[id] > details")) {
      const known = unfolded.get(message.parentElement.id);
      if (known !== undefined) message.open = known;
    }
  }

  // Mails that somebody unfolded or folded stay so when the timeline is shown again.
  const unfolded = new Map();
  document.addEventListener(
    "click",
    (event) => {
      const summary = event.target.closest("article.message[id] > details > summary");
      if (summary) unfolded.set(summary.closest("article").id, !summary.parentElement.open);
    },
    true,
  );

  // A refusal says why beside its form: it is shown like any answer.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    if (!document.querySelector(".box-page") || ![409, 422].includes(xhr.status)) return;
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });

  // A form that sends itself when something in it changes is not sent twice by Enter.
  document.addEventListener("keydown", (event) => {
    const line = event.target;
    if (!line.closest || !line.closest(".box-page")) return;
    if (event.key === "Enter" && line.matches("[data-one-line]")) {
      event.preventDefault();
      line.blur();
    }
    if (event.key === "Escape" && line.matches(".place, .place-field input, .place-field textarea")) {
      line.value = line.defaultValue;
      line.blur();
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && line.matches("textarea") && line.form) {
      event.preventDefault();
      line.form.requestSubmit();
    }
  });

  // What unfolds to a form is written into at once; what folds lets go of the focus.
  document.addEventListener(
    "toggle",
    (event) => {
      const fold = event.target;
      if (!fold.matches || !fold.matches(".box-page details") || !fold.open) return;
      const first = fold.querySelector("[data-focus] textarea, form textarea, form input:not([type=hidden])");
      if (first && fold.matches(".fold, .task-edit")) first.focus();
    },
    true,
  );

  // -- @mention: a list of teammates under the text
  let list = null; // { box, area, start, found, at }
  const status = () => document.getElementById("mention-status") || makeStatus();

  function makeStatus() {
    const made = document.createElement("p");
    made.id = "mention-status";
    made.className = "unseen";
    made.setAttribute("role", "status");
    document.body.append(made);
    return made;
  }

  function close() {
    if (!list) return;
    list.area.removeAttribute("aria-activedescendant");
    list.area.removeAttribute("aria-controls");
    list.box.remove();
    list = null;
  }

  function suggest(area) {
    const before = area.value.slice(0, area.selectionStart);
    const typed = /(?:^|[\s(])@([^\s@]{0,30}(?: [^\s@]{0,30})?)$/.exec(before);
    const asked = typed && typed[1].toLowerCase();
    const people = typed ? JSON.parse(area.dataset.mentions) : [];
    const found = people
      .filter(({ name, handle }) =>
        [name, handle, ...name.split(" ")].some((word) => word.toLowerCase().startsWith(asked)),
      )
      .slice(0, 6);
    close();
    if (!found.length || (found.length === 1 && found[0].handle.toLowerCase() === asked)) return;
    const box = document.createElement("ul");
    box.className = "mentions";
    box.id = "mentions";
    box.setAttribute("role", "listbox");
    box.setAttribute("aria-label", "Teammates");
    found.forEach(({ name, handle }, index) => {
      const option = document.createElement("li");
      option.id = `mention-${index}`;
      option.setAttribute("role", "option");
      option.textContent = name === handle ? name : `${name} (${handle})`;
      option.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        list.at = index;
        choose();
      });
      box.append(option);
    });
    area.after(box);
    list = { box, area, start: before.length - typed[1].length, found, at: 0 };
    area.setAttribute("aria-controls", "mentions");
    point(0);
    status().textContent = `${found.length} teammates; arrows choose, Enter takes`;
  }

  function point(by) {
    list.at = (list.at + by + list.found.length) % list.found.length;
    [...list.box.children].forEach((option, index) =>
      option.setAttribute("aria-selected", String(index === list.at)),
    );
    list.area.setAttribute("aria-activedescendant", `mention-${list.at}`);
  }

  function choose() {
    const { area, start, found, at } = list;
    area.setRangeText(`${found[at].handle} `, start, area.selectionStart, "end");
    status().textContent = `${found[at].name} is mentioned`;
    close();
    area.focus();
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches("textarea[data-mentions]")) suggest(event.target);
  });
  document.addEventListener("focusout", (event) => {
    if (list && event.target === list.area) close();
  });
  document.addEventListener(
    "keydown",
    (event) => {
      if (!list || event.target !== list.area || event.isComposing) return;
      const act = { ArrowDown: () => point(1), ArrowUp: () => point(-1), Enter: choose, Tab: choose, Escape: close };
      if (!act[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      act[event.key]();
    },
    true,
  );

  document.addEventListener("DOMContentLoaded", () => prepare(document));
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement || event.detail.elt));
})();
