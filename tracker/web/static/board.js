// The board: cards moved between stages by mouse, touch and keyboard. Shown at once, saved at once, taken back for
// ten seconds; where a teammate was faster, the card goes where it is now.
"use strict";

(() => {
  const REACHED = 200; // cards of a column that are read again when it changes
  const under = new Map(); // moves under way, by box: a promise each
  const scrolled = new Map(); // where columns were scrolled to while they are swapped

  const board = () => document.querySelector("[data-board]");
  const dialog = () => document.getElementById("move-dialog");
  const cardOf = (key) => document.querySelector(`[data-board] [data-box="${CSS.escape(key)}"]`);
  const columnOf = (card) => card?.closest("[data-column]");
  const columnAt = (stage) => document.querySelector(`[data-board] [data-column="${CSS.escape(stage)}"]`);
  const listOf = (column) => column?.querySelector("[data-cards]");
  const nameOf = (card) => card.querySelector("h3 a").lastChild.textContent.trim();
  const focusOn = (card) => card?.querySelector("h3 a").focus({ preventScroll: false });

  // -- words

  function say(words, kind, key, undo) {
    // Of one box's moves only the last can be taken back.
    for (const older of document.querySelectorAll("#notices [data-moved]")) {
      if (older.dataset.moved === key) older.remove();
    }
    const shown = window.tracker.notice(words, kind);
    if (!undo) return;
    shown.dataset.moved = key;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button plain small";
    button.textContent = "Undo";
    button.dataset.key = "z";
    button.addEventListener("click", () => {
      shown.remove();
      undo();
    });
    shown.classList.add("undoable"); // it is there for ten seconds, see components.css
    shown.append(button);
  }

  async function post(address, fields) {
    const token = document.querySelector("meta[name=csrf-token]").content;
    let response;
    try {
      response = await fetch(address, {
        method: "POST",
        headers: { Accept: "application/json", "X-CSRFToken": token },
        body: new URLSearchParams(fields),
      });
    } catch {
      return { ok: false, error: "Not saved: the server can’t be reached. Try again in a moment." };
    }
    const answer = await response.json().catch(() => ({}));
    return { error: "That was not saved; load the page again", ...answer, ok: response.ok };
  }

  // -- what a column says of itself

  function setHead(column, head) {
    column.querySelector("[data-count]").textContent = head.count;
    const worth = column.querySelector("[data-worth]");
    worth.replaceChildren();
    if (head.worth) {
      const shown = document.createElement("span");
      shown.className = "worth";
      shown.title = head.exactly;
      shown.textContent = head.worth;
      worth.append(shown);
    }
  }

  function recount(column, by) {
    const counter = column?.querySelector("[data-count]");
    if (!counter || counter.textContent.endsWith("+")) return;
    counter.textContent = (Number(counter.textContent.replace(/\D/g, "")) + by).toLocaleString("en");
  }

  // When a column changes, as much of it is read again as is shown.
  function remember(column) {
    if (!column) return;
    const base = column.dataset.liveBase;
    const shown = Math.min(column.querySelectorAll("[data-box]").length, REACHED);
    column.dataset.liveUrl = `${base}${base.includes("?") ? "&" : "?"}shown=${shown}`;
  }

  // -- moving

  // Put a card into a column: before another card if that is still there, else on top.
  function place(card, column, before) {
    const from = columnOf(card);
    const list = listOf(column);
    const next = before && cardOf(before);
    if (!list) {
      card.remove();
    } else if (next && columnOf(next) === column) {
      next.before(card);
    } else {
      list.prepend(card);
    }
    if (from !== column) {
      recount(from, -1);
      recount(column, 1);
    }
    remember(from);
    remember(column);
  }

  function settle(card, answer, before) {
    card.dataset.version = answer.version;
    const column = columnAt(answer.stage);
    if (columnOf(card) !== column || !card.isConnected) place(card, column, before);
    for (const [stage, head] of Object.entries(answer.heads || {})) {
      const told = columnAt(stage);
      if (told) setHead(told, head);
    }
  }

  // The card as it is on the page now: a column that was read again holds a new one.
  const current = (key, card) => cardOf(key) || card;

  function busy(columns, on) {
    for (const column of columns) {
      if (on) column?.setAttribute("aria-busy", "true");
      else column?.removeAttribute("aria-busy");
    }
  }

  // Moves of one box wait for one another: each is sent with the version that the one before it brought.
  function queue(key, work) {
    const last = (under.get(key) || Promise.resolve()).then(work);
    under.set(key, last);
    last.finally(() => under.get(key) === last && under.delete(key));
    return last;
  }

  function move(card, stage, { from = columnOf(card), before = null, focus = false } = {}) {
    const to = columnAt(stage);
    const key = card.dataset.box;
    const name = nameOf(card);
    const origin = from.dataset.column;
    if (origin === stage) return;
    if (columnOf(card) !== to) {
      place(card, to);
    } else {
      listOf(to).prepend(card); // dragged there already
      recount(from, -1);
      recount(to, 1);
      remember(from);
      remember(to);
    }
    if (focus) focusOn(card);
    busy([from, to], true);
    queue(key, async () => {
      const { version } = current(key, card).dataset;
      const answer = await post(board().dataset.moveUrl, { box: key, stage, version });
      busy([columnAt(origin), columnAt(stage)], false);
      const there = current(key, card);
      if (!answer.ok) return failed(there, answer, origin, before, focus);
      settle(there, answer);
      if (focus) focusOn(there);
      const undo = () => takeBack(key, there, answer.undo, before, focus);
      say(`${name} moved to ${answer.name}`, "done", key, answer.undo && undo);
    });
  }

  function failed(card, answer, origin, before, focus) {
    if (answer.gone) {
      recount(columnOf(card), -1);
      card.remove();
    } else if (answer.stage) {
      settle(card, answer);
    } else {
      place(card, columnAt(origin), before);
    }
    if (focus && card.isConnected) focusOn(card);
    say(answer.error, "failed", card.dataset.box);
  }

  function takeBack(key, card, token, before, focus) {
    queue(key, async () => {
      const answer = await post(board().dataset.undoUrl, { token });
      const there = current(key, card);
      if (!answer.ok) return failed(there, answer, columnOf(there)?.dataset.column || "", null, focus);
      settle(there, answer, before);
      if (focus || document.activeElement === document.body) focusOn(there);
      say(`${nameOf(there)} is back in ${answer.name}`, "done", key);
    });
  }

  const nextOf = (card) => card.nextElementSibling?.dataset?.box || null;

  function step(card, by) {
    const columns = [...board().querySelectorAll("[data-column]")];
    const to = columns[columns.indexOf(columnOf(card)) + by];
    if (to) move(card, to.dataset.column, { before: nextOf(card), focus: true });
  }

  // -- dragging

  let lifted = null; // the card that stood behind the one being dragged

  function prepare() {
    const there = board();
    if (!there) return;
    there.classList.add("ready");
    for (const list of there.querySelectorAll("[data-cards]")) {
      if (window.Sortable.get(list)) continue;
      window.Sortable.create(list, {
        group: "board",
        draggable: ".card",
        filter: ".card-move",
        preventOnFilter: false,
        sort: false,
        animation: 120,
        delay: 180,
        delayOnTouchOnly: true,
        touchStartThreshold: 6,
        ghostClass: "ghost",
        dragClass: "dragged",
        scrollSensitivity: 60,
        onStart(event) {
          lifted = nextOf(event.item);
          there.classList.add("dragging");
        },
        onEnd(event) {
          there.classList.remove("dragging");
          const [from, to] = [columnOf(event.from), columnOf(event.to)];
          if (from !== to) move(event.item, to.dataset.column, { from, before: lifted });
        },
      });
    }
    watchWidth(there);
  }

  // Links to the stages, for a board that is wider than the window.
  const widths = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const jump = document.querySelector("[data-jump]");
      if (!jump) continue;
      jump.hidden = target.scrollWidth <= target.clientWidth;
      target.tabIndex = jump.hidden ? -1 : 0;
    }
  });
  let watched = null;
  function watchWidth(there) {
    if (watched === there) return;
    if (watched) widths.unobserve(watched);
    watched = there;
    widths.observe(there);
  }

  // -- the dialog, for fingers, keys and readers

  function choose(card) {
    const shown = dialog();
    if (!shown || shown.open) return;
    const here = columnOf(card).dataset.column;
    const buttons = [...shown.querySelectorAll("[data-to]")];
    shown.dataset.for = card.dataset.box;
    shown.querySelector("h2").textContent = `Move ${nameOf(card)} to …`;
    for (const button of buttons) {
      const is = button.dataset.to === here;
      button.disabled = is;
      if (is) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    shown.showModal();
    const at = buttons.findIndex((button) => button.disabled);
    (buttons[at + 1] || buttons[at - 1] || buttons[0])?.focus();
  }

  function chosen(stage) {
    const shown = dialog();
    const card = cardOf(shown.dataset.for);
    shown.close();
    if (card) move(card, stage, { before: nextOf(card), focus: true });
  }

  document.addEventListener("click", (event) => {
    const target = event.target;
    const opener = target.closest("[data-board] [data-move]");
    if (opener) choose(opener.closest("[data-box]"));
    const button = target.closest("#move-dialog [data-to]");
    if (button) chosen(button.dataset.to);
    const stepper = target.closest("[data-step]");
    const card = stepper && focused();
    if (card) step(card, Number(stepper.dataset.step));
  });

  function inDialog(event) {
    const buttons = [...dialog().querySelectorAll("[data-to]")];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return false;
    const free = buttons.filter((button) => !button.disabled);
    free[(free.indexOf(document.activeElement) + by + free.length) % free.length]?.focus();
    return true;
  }

  function neighbour(card, key) {
    const cards = (column) => [...column.querySelectorAll("[data-box]")];
    const here = cards(columnOf(card));
    const at = here.indexOf(card);
    if (key === "ArrowDown") return here[at + 1];
    if (key === "ArrowUp") return here[at - 1];
    const columns = [...board().querySelectorAll("[data-column]")].filter((one) => cards(one).length);
    const to = columns[columns.indexOf(columnOf(card)) + (key === "ArrowRight" ? 1 : -1)];
    return to && cards(to)[Math.min(at, cards(to).length - 1)];
  }

  const focused = () => document.activeElement?.closest?.("[data-board] [data-box]");

  // [ and ] and m are declared in the page (see keys.js).
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (dialog()?.open) {
      if (inDialog(event)) event.preventDefault();
      return;
    }
    const card = focused();
    if (!card || !event.key.startsWith("Arrow")) return;
    const by = event.shiftKey && { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) step(card, by);
    else if (!event.shiftKey) focusOn(neighbour(card, event.key));
    event.preventDefault();
  });

  // -- forms

  document.addEventListener("submit", (event) => {
    if (event.target.matches("[data-filter-form]")) event.target.querySelector("details").open = false;
  });
  document.addEventListener("toggle", (event) => {
    if (event.target.matches?.("details[data-focus][open]")) event.target.querySelector("form input:not([type=hidden])").focus();
  }, true);

  // -- what comes and goes

  document.addEventListener("htmx:beforeSwap", (event) => {
    const column = event.detail.target;
    if (column?.matches?.("[data-column]")) scrolled.set(column.id, listOf(column).scrollTop);
  });
  document.addEventListener("htmx:load", (event) => {
    const loaded = event.detail.elt;
    const column = loaded.closest?.("[data-column]");
    if (column) {
      if (column === loaded && scrolled.has(column.id)) {
        listOf(column).scrollTop = scrolled.get(column.id);
        scrolled.delete(column.id);
      }
      // A card that came into this column is not in another any more.
      for (const card of column.querySelectorAll("[data-box]")) {
        for (const other of document.querySelectorAll(`[data-board] [data-box="${CSS.escape(card.dataset.box)}"]`)) {
          if (other !== card) other.remove();
        }
      }
      remember(column);
    }
    prepare();
  });
  // Sortable keeps a list of all that it was put on: what htmx takes off the page goes from there too.
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    const target = event.detail.elt || event.target;
    if (target.matches?.("[data-cards]")) window.Sortable.get(target)?.destroy();
  });
  document.addEventListener("DOMContentLoaded", prepare);
})();
