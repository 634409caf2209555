"use strict";
// Polls the live view and replaces the elements that changed.
// Everything else on the pages works without this file.

const live = document.body.dataset.page === "live";
const study = document.body.dataset.page === "study";  // Shows what to do next: read again itself.
const everyMs = live || study ? 1000 : 5000;
const staleMs = live || study ? 5000 : 20000;
let answeredAt = performance.now();
let wake = () => {};

async function refresh() {
  const address = study ? location.href : document.querySelector("a.brand").href;
  const answer = await fetch(address, { signal: AbortSignal.timeout(4000) });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  await loadPicture(fresh.querySelector("[data-part=picture] img"));
  for (const part of document.querySelectorAll("[data-part]")) swap(part, fresh);
  answeredAt = performance.now();
}

// Load the next image before it replaces the last one: no flicker, and image and verdict change together.
async function loadPicture(next) {
  const now = document.querySelector("[data-part=picture] img");
  if (!live || !next) return;
  if (now && now.getAttribute("src") === next.getAttribute("src")) return;
  const picture = new Image();
  picture.alt = next.alt;
  picture.src = next.getAttribute("src");
  await picture.decode().catch(() => {});
  next.replaceWith(picture);
}

function swap(part, fresh) {
  const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
  // Keep an element with keyboard focus, and one with links while a pointer is over it.
  const held = part.contains(document.activeElement) || (part.querySelector("a") && part.matches(":hover"));
  if (!next || held || next.outerHTML === part.outerHTML) return;
  part.replaceWith(document.adoptNode(next));
}

async function follow() {
  for (;;) {
    if (!document.hidden) {
      await refresh().catch(() => {});
      document.documentElement.toggleAttribute("data-stale", performance.now() - answeredAt > staleMs);
    }
    await new Promise((done) => { wake = done; setTimeout(done, everyMs); });
  }
}

document.addEventListener("visibilitychange", () => wake());

// What the station is still working out comes by itself.
async function awaitFigures() {
  while (document.querySelector("[data-awaits]")) {
    await new Promise((done) => setTimeout(done, 3000));
    if (document.hidden) continue;
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(4000) }).catch(() => null);
    if (!answer || !answer.ok) continue;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const part = document.querySelector("[data-awaits]");
    const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
    if (next && !part.contains(document.activeElement)) part.replaceWith(document.adoptNode(next));
  }
}

awaitFigures();

// Show the full name of the chosen file, which browsers shorten.
for (const input of document.querySelectorAll("input[type=file]")) {
  const show = () => { input.nextElementSibling.textContent = input.files.length ? input.files[0].name : ""; };
  input.addEventListener("change", show);
  show();
}

for (const form of document.querySelectorAll("form[data-working]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button[type=submit]");
    button.textContent = form.dataset.working;
    button.disabled = true;
  });
}

follow();
