// The bell: the number at the foot follows that of the side bar; an open page rings itself where no push is switched on;
// and the settings page switches this browser on and off.
"use strict";

(() => {
  const bell = () => document.querySelector("[data-bell]");
  const token = () => document.querySelector("meta[name=csrf-token]")?.content ?? "";
  const canPush = () => "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

  async function registration() {
    return "serviceWorker" in navigator ? navigator.serviceWorker.getRegistration("/") : undefined;
  }
  async function subscription() {
    return canPush() ? (await registration())?.pushManager.getSubscription() : undefined;
  }
  function post(url, values = {}) {
    const headers = { "X-CSRFToken": token(), Accept: "application/json" };
    return fetch(url, { method: "POST", headers, body: new URLSearchParams(values) });
  }

  // -- the number

  function mirror() {
    const from = bell();
    const to = document.querySelector("[data-bell-foot]");
    if (!from || !to) return;
    to.dataset.unseen = from.dataset.unseen;
    to.setAttribute("aria-label", from.getAttribute("aria-label"));
    const [one, other] = [from, to].map((each) => each.querySelector(".bell-count"));
    other.textContent = one.textContent;
    other.hidden = one.hidden;
  }

  // -- ringing from an open page: only where no service worker does, and of several pages only one

  const NOTHING = "-"; // this browser knows that nothing had rung yet
  const keptAs = () => `tracker.bell.${bell().dataset.bell}`;
  function kept(value) {
    try {
      if (value !== undefined) localStorage.setItem(keptAs(), value);
      return localStorage.getItem(keptAs());
    } catch {
      return null; // nothing may be kept here: then nothing rings twice, and nothing once
    }
  }

  async function ring() {
    const here = bell();
    if (!here) return;
    const newest = here.dataset.newest || NOTHING;
    const last = kept();
    if (last === newest) return;
    if (!last || !("Notification" in window) || Notification.permission !== "granted") {
      kept(newest);
      return;
    }
    const told = await ask(here, last, await subscription()); // it rings only if nobody was here before, and the server knows it
    if (!told) return;
    if (told.wait) {
      clearTimeout(later);
      later = setTimeout(news, Math.min(told.wait * 1000, 2 ** 31 - 1)); // quiet hours: what came rings when they end
    }
    for (const one of told.ring) await show(one); // a page that is left meanwhile rings once more: its tag takes no second place
    kept(told.newest || NOTHING);
  }

  let later;
  async function ask(here, after, found) {
    const asked = new URLSearchParams({ after });
    if (found) asked.set("browser", await hashed(found.endpoint));
    const answer = await fetch(`${here.dataset.news}?${asked}`, { headers: { Accept: "application/json" } });
    return answer.ok ? answer.json() : undefined;
  }
  async function hashed(text) {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return [...new Uint8Array(digest)].map((one) => one.toString(16).padStart(2, "0")).join("");
  }

  async function show({ title, body, tag, url }) {
    const options = { body, tag, data: { url, at: "" } };
    const worker = await registration();
    if (worker?.active) {
      const [before] = await worker.getNotifications({ tag });
      options.renotify = Boolean(before?.data && before.data.url !== url); // as in sw.js
      await worker.showNotification(title, options);
      return;
    }
    const shown = new Notification(title, options);
    shown.addEventListener("click", () => {
      window.focus();
      window.open(url, "_blank", "noopener");
      shown.close();
    });
  }

  function news() {
    mirror();
    const alone = navigator.locks ? navigator.locks.request("tracker-bell", ring) : ring();
    Promise.resolve(alone).catch(() => {});
  }
  document.addEventListener("htmx:load", (event) => {
    if (event.target.matches?.("[data-bell]")) news();
  });

  // -- whose subscription it is: on a computer of several people, nobody hears what is told to who was there before

  const OWNER = "tracker.bell.owner";
  function owner(value) {
    try {
      if (value !== undefined) localStorage.setItem(OWNER, value);
      return localStorage.getItem(OWNER);
    } catch {
      return null;
    }
  }

  async function settle() {
    const here = bell();
    const found = here && (await subscription());
    if (!found || owner() === here.dataset.bell) return;
    // Nothing is kept here, or not any more: then the server says whose it is.
    const told = owner() === null ? await ask(here, "", found) : { mine: false };
    if (told?.mine) owner(here.dataset.bell);
    else if (told) await found.unsubscribe();
  }

  // Whoever signs out on this computer is told nothing here any more.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || !form.matches("form[action$='/sign-out']") || form.dataset.silenced) return;
    if (!canPush() || Notification.permission !== "granted") return;
    event.preventDefault();
    form.dataset.silenced = "1";
    delete form.dataset.sent;
    const silenced = subscription().then((found) => found?.unsubscribe()).catch(() => {});
    Promise.race([silenced, new Promise((done) => setTimeout(done, 1500))]).then(() => form.submit());
  }, true);

  // -- the settings page

  const WORDS = {
    unsupported: "This browser can’t ring for a web page. On an iPhone or iPad, put Tracker on the home screen first.",
    insecure: "Browsers ring only for pages whose address begins with https://.",
    denied: "This browser was told not to let Tracker ring. Allow notifications for this site in its settings, then load this page again.",
    page: "This browser has no push service at hand: it rings while a page of Tracker is open.",
    failed: "It could not be turned on. Try again in a moment.",
  };
  const bytes = (key) => Uint8Array.from(atob(key.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
  const same = (one, other) => one && one.byteLength === other.byteLength && new Uint8Array(one).every((byte, at) => byte === other[at]);

  function label() {
    const agent = navigator.userAgent;
    const name = [["Edg/", "Edge"], ["OPR/", "Opera"], ["Firefox/", "Firefox"], ["Chrome/", "Chrome"], ["Safari/", "Safari"]].find(([mark]) => agent.includes(mark));
    const system = [["Android", "Android"], ["iPhone", "an iPhone"], ["iPad", "an iPad"], ["Mac OS", "a Mac"], ["Windows", "Windows"], ["Linux", "Linux"]].find(([mark]) => agent.includes(mark));
    return `${name ? name[1] : "A browser"} on ${system ? system[1] : "a computer"}`;
  }

  function say(panel, state) {
    panel.dataset.pushState = state;
    panel.querySelector("[data-push-on]").hidden = state === "on" || state === "unsupported" || state === "insecure";
    panel.querySelector("[data-push-off]").hidden = state !== "on";
    const words = panel.querySelector("[data-push-words]");
    words.textContent = WORDS[state] ?? "";
    words.hidden = !WORDS[state];
  }

  async function look(panel) {
    if (!window.isSecureContext) return say(panel, "insecure");
    if (!canPush()) return say(panel, "unsupported");
    if (Notification.permission === "denied") return say(panel, "denied");
    const found = await subscription();
    const row = found && panel.querySelector(`[data-endpoint="${CSS.escape(found.endpoint)}"]`);
    if (row) row.querySelector("[data-here]").hidden = false;
    return say(panel, row ? "on" : "off");
  }

  async function turnOn(panel) {
    if ((await Notification.requestPermission()) !== "granted") return look(panel);
    await navigator.serviceWorker.register("/sw.js", { scope: "/" });
    const worker = await navigator.serviceWorker.ready;
    const key = bytes(panel.dataset.pushKey);
    let found = await worker.pushManager.getSubscription();
    if (found && !same(found.options.applicationServerKey, key)) {
      await found.unsubscribe();
      found = null;
    }
    try {
      found ??= await worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    } catch {
      return say(panel, "page");
    }
    const { endpoint, keys } = found.toJSON();
    const answer = await post(panel.dataset.pushUrl, { endpoint, p256dh: keys.p256dh, auth: keys.auth, label: label() });
    if (answer.ok) {
      owner(bell()?.dataset.bell);
      return location.reload();
    }
    say(panel, "failed");
    const told = await answer.json().catch(() => ({}));
    if (told.error) panel.querySelector("[data-push-words]").textContent = told.error;
    return undefined;
  }

  async function turnOff(panel) {
    const found = await subscription();
    const row = found && panel.querySelector(`[data-endpoint="${CSS.escape(found.endpoint)}"]`);
    if (found) await found.unsubscribe();
    if (row) row.querySelector("form").requestSubmit();
    else await look(panel);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-push-on],[data-push-off]");
    if (!button) return;
    const panel = button.closest("[data-push]");
    button.disabled = true;
    (button.matches("[data-push-on]") ? turnOn(panel) : turnOff(panel))
      .catch(() => say(panel, "failed"))
      .finally(() => { button.disabled = false; });
  });

  async function begin() {
    await settle().catch(() => {});
    news();
    const panel = document.querySelector("[data-push]");
    if (panel) look(panel).catch(() => say(panel, "failed"));
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
