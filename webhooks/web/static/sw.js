// The service worker: rings when a push comes, and leads to what rang. It keeps no pages and answers no requests.
"use strict";

const FALLBACK = { title: "Tracker", body: "There is something to know.", url: "/bell", tag: "tracker" };

// Only ever a path of ours, whatever a push says.
function path(url) {
  try {
    const found = new URL(url, self.location.origin);
    return found.origin === self.location.origin ? found.pathname + found.search : "/bell";
  } catch {
    return "/bell";
  }
}

function read(data) {
  try {
    return { ...FALLBACK, ...data.json() };
  } catch {
    return FALLBACK;
  }
}

// What has the tag already takes no second ring; something else about the same mail takes its place and rings.
async function ring(told) {
  const url = path(told.url);
  const [before] = await self.registration.getNotifications({ tag: told.tag });
  const renotify = Boolean(before && before.data && before.data.url !== url);
  const data = { url, at: told.at ? path(told.at) : "" };
  await self.registration.showNotification(told.title, { body: told.body, tag: told.tag, renotify, data });
  for (const page of await self.clients.matchAll({ type: "window", includeUncontrolled: true })) {
    page.postMessage({ kind: "rang", tag: told.tag });
  }
}

// The page that shows it already is brought to the front as it is: somebody may be writing there. Else a new one.
async function lead(data) {
  const url = path(data && data.url);
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = data && data.at && pages.find((page) => new URL(page.url).pathname === data.at);
  if (there) {
    fetch(url, { redirect: "manual", credentials: "same-origin" }).catch(() => {}); // it is seen with that
    return there.focus();
  }
  return self.clients.openWindow(url);
}

function bytes(key) {
  const text = atob(key.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(text, (one) => one.charCodeAt(0));
}

async function subscribeAnew(event) {
  const answer = await fetch("/bell/push-key", { credentials: "same-origin" });
  const { key } = await answer.json();
  const options = { userVisibleOnly: true, applicationServerKey: bytes(key) };
  const made = event.newSubscription || (await self.registration.pushManager.subscribe(options));
  const { endpoint, keys } = made.toJSON();
  const body = JSON.stringify({ old: event.oldSubscription ? event.oldSubscription.endpoint : "", endpoint, ...keys });
  await fetch("/bell/browsers/changed", { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body });
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(ring(read(event.data))));
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(lead(event.notification.data));
});
self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(subscribeAnew(event).catch(() => {})));
