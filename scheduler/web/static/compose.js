// Writing a mail: an editor in place of the textarea, sizes of files, templates, and refusals beside their fields.
// Everything here works without it, plainer.
"use strict";

(() => {
  const MOST_DIGITS = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

  // -- the editor. The textarea stays, holds what is sent, and is what htmx and the form know.
  function edit(box) {
    const area = box.querySelector("textarea");
    const bar = box.querySelector(".rich-bar");
    const text = document.createElement("div");
    text.className = "rich-text";
    text.contentEditable = "true";
    text.setAttribute("role", "textbox");
    text.setAttribute("aria-multiline", "true");
    text.setAttribute("aria-label", area.getAttribute("aria-label"));
    if (area.hasAttribute("aria-describedby")) text.setAttribute("aria-describedby", area.getAttribute("aria-describedby"));
    text.dataset.placeholder = area.placeholder;
    text.id = `${area.id}-rich`;
    text.innerHTML = box.dataset.html; // cleaned by the server
    area.hidden = true;
    area.value = text.innerHTML;
    area.form.elements.rich.value = "1";
    bar.hidden = false;
    bar.setAttribute("aria-controls", text.id);
    box.append(text);
    const link = bar.querySelector(".rich-link");
    let range = null;

    function kept() {
      const blank = !text.textContent.trim() && !text.querySelector("li, hr");
      if (blank && text.innerHTML !== "") text.replaceChildren();
      area.value = text.innerHTML;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
    box.replace = (html) => {
      text.innerHTML = html;
      kept();
    };
    text.addEventListener("input", kept);
    text.addEventListener("paste", (event) => {
      event.preventDefault(); // styles of other pages are not ours
      document.execCommand("insertText", false, event.clipboardData.getData("text/plain"));
    });
    text.addEventListener("drop", (event) => {
      event.preventDefault();
      const words = event.dataTransfer.getData("text/plain");
      if (words) document.execCommand("insertText", false, words);
    });
    document.addEventListener("selectionchange", () => {
      if (!text.contains(document.getSelection().anchorNode)) return;
      range = document.getSelection().rangeCount ? document.getSelection().getRangeAt(0) : null;
      for (const one of bar.querySelectorAll("[data-command=bold], [data-command=italic]")) {
        one.setAttribute("aria-pressed", String(document.queryCommandState(one.dataset.command)));
      }
    });
    function back() {
      text.focus();
      if (!range) return;
      const selection = document.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
    }
    function make() {
      const field = link.querySelector("input");
      const address = field.value.trim();
      link.hidden = true;
      back();
      if (!/^(https?:\/\/|mailto:)\S+$/i.test(address)) return;
      if (range && range.collapsed) document.execCommand("insertText", false, `${address} `);
      else document.execCommand("createLink", false, address);
      field.value = "";
      kept();
    }
    bar.addEventListener("mousedown", (event) => {
      if (event.target.closest("button")) event.preventDefault(); // the selection stays
    });
    bar.addEventListener("click", (event) => {
      const button = event.target.closest("[data-command]");
      if (!button) return;
      if (button.dataset.command === "link") {
        link.hidden = !link.hidden;
        if (!link.hidden) link.querySelector("input").focus();
      } else if (button.dataset.command === "createLink") {
        make();
      } else {
        back();
        document.execCommand(button.dataset.command, false);
        kept();
      }
    });
    link.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key === "Escape") link.querySelector("input").value = "";
      make();
    });
  }

  // -- files: how large they are together, as they are sent
  function weigh(form) {
    const said = form.querySelector("#files-said");
    const input = form.querySelector("input[type=file]");
    if (!said || !input) return;
    const sizes = [...input.files].map((one) => one.size);
    for (const one of form.querySelectorAll("input[name=keep]:checked")) sizes.push(Number(one.dataset.size));
    const size = sizes.reduce((all, one) => all + one, 0);
    const over = size * 1.37 > Number(form.dataset.most);
    const told = size < 1e6 ? `${Math.ceil(size / 1e3)} KB` : `${MOST_DIGITS.format(size / 1e6)} MB`;
    said.textContent = sizes.length ? `${told}${over ? ": more than Gmail takes; take one out, or send a link" : ""}` : "";
    said.classList.toggle("over", over);
  }

  // -- templates
  async function take(list) {
    const key = list.value;
    if (!key) return;
    const answer = await fetch(`${list.dataset.templates}/${encodeURIComponent(key)}/text`, { headers: { "HX-Request": "true" } });
    list.value = "";
    if (!answer.ok) return;
    const told = await answer.json();
    const form = list.form;
    const subject = form.elements.subject;
    if (told.subject && !form.elements.reply.value) subject.value = told.subject;
    form.querySelector("[data-rich]").replace(told.html);
  }

  document.addEventListener("change", (event) => {
    const { target } = event;
    if (target.matches("select[data-templates]")) take(target);
    if (target.form && target.form.dataset.most && target.matches("input[type=file], input[name=keep]")) weigh(target.form);
  });
  document.addEventListener("keydown", (event) => {
    const form = event.target.closest && event.target.closest("#compose, #template");
    if (!form || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit(form.querySelector("button.primary"));
  });

  // A refusal is shown like any answer; what is too large is told beside the files.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, elt } = event.detail;
    if (!(elt instanceof HTMLFormElement) || elt.id !== "compose") return;
    if ([403, 409, 422].includes(xhr.status)) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
    if (xhr.status === 413) {
      const place = document.getElementById("said-files");
      const words = document.createElement("p");
      words.className = "refused";
      words.setAttribute("role", "alert");
      words.textContent = "These files are larger than Gmail takes (25 MB as they are sent). Take one out, or send a link";
      place.replaceChildren(words);
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, xhr } = event.detail;
    if (!(elt instanceof HTMLFormElement) || elt.id !== "compose") return;
    delete elt.dataset.sent; // it may be sent again at once
    const first = xhr.status >= 400 && document.querySelector("[id^=said-] .refused");
    if (first) first.scrollIntoView({ block: "center" });
  });

  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll("[data-rich]")) edit(box);
    for (const button of document.querySelectorAll("[data-by-hand]")) button.hidden = true;
    for (const form of document.querySelectorAll("form[data-most]")) weigh(form);
  });
})();
