// Keeps the page true: it follows a running update over the daemon's restart, and looks now and then for others.
// The server renders everything; this only asks for the content again and puts it in place.
"use strict";

const LOOK_EVERY = 15_000; // milliseconds
const COME_BACK_AFTER = 300;
const LOOK_FOR_HOST_EVERY = 1_000;
const PART = { "X-Part": "content" };

const content = document.getElementById("content");
let following = null; // { id, seq, source }
let asking = null;
let askAgain = false;
let again;
let drawnAt = performance.now();

function draw(html) {
  const focused = document.activeElement?.id;
  const typed = content.querySelector("#target:focus")?.value;
  const open = new Set([...content.querySelectorAll("details[open]")].map((details) => details.id));
  const said = content.querySelector("#live")?.textContent;
  const fresh = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html").querySelector("main");
  // a live region announces what changes in it, so the old one stays
  const live = content.querySelector("#live");
  const news = fresh.querySelector("#live").textContent;
  fresh.querySelector("#live").replaceWith(live);
  content.replaceChildren(...fresh.childNodes);
  if (news !== said) live.textContent = news;
  for (const details of content.querySelectorAll("details")) details.open = open.has(details.id);
  if (typed !== undefined) content.querySelector("#target").value = typed;
  drawnAt = performance.now();
  localise();
  lookAgain();
  // whoever pressed a button that is gone must not be thrown back to the top of the page
  const next = focused && (document.getElementById(focused) ?? content.querySelector("#refusal, #ask"));
  if (next && next !== document.activeElement) next.focus({ preventScroll: true });
  follow();
}

function localise() {
  for (const time of content.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    const today = moment.toDateString() === new Date().toDateString();
    time.textContent = today ? moment.toLocaleTimeString() : moment.toLocaleString();
    time.title = time.dateTime;
  }
}

// What the host does is no event of this machine before its update begins.
function lookAgain() {
  clearTimeout(again);
  if (content.querySelector("[data-again]")) again = setTimeout(look, LOOK_FOR_HOST_EVERY);
}

function away(isAway) {
  const notice = content.querySelector(".away");
  if (notice) notice.hidden = !isAway;
}

// One request at a time; what is asked for meanwhile is asked for once more afterwards.
async function look() {
  if (asking) {
    askAgain = true;
    return;
  }
  asking = fetch("/", { headers: PART, cache: "no-store" });
  try {
    const response = await asking;
    if (response.status === 401) location.reload();
    else if (response.ok) draw(await response.text());
    away(false);
  } catch {
    away(true);
    setTimeout(look, COME_BACK_AFTER);
  } finally {
    asking = null;
  }
  if (askAgain) {
    askAgain = false;
    look();
  }
}

function follow() {
  const update = content.querySelector("[data-follow]");
  if (!update) {
    following?.source.close();
    following = null;
  } else if (following?.id !== update.dataset.follow) {
    following?.source.close();
    listen(update.dataset.follow, Number(update.dataset.seq));
  }
}

function listen(id, seq) {
  const source = new EventSource(`/api/v1/updates/${encodeURIComponent(id)}/events?last_event_id=${seq}`);
  following = { id, seq, source };
  source.addEventListener("entry", (event) => {
    following.seq = Number(event.lastEventId);
    look();
  });
  source.addEventListener("end", () => {
    source.close();
    look();
  });
  source.addEventListener("open", () => away(false));
  source.addEventListener("error", () => {
    away(true);
    // the browser comes back by itself after a broken connection, and not after an answer that is an error
    if (source.readyState === EventSource.CLOSED && following?.source === source) {
      setTimeout(() => following?.source === source && listen(id, following.seq), COME_BACK_AFTER);
    }
  });
}

content.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  button.id ||= "pressed";
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(form.action, { method: "POST", headers: PART, body });
    if (response.headers.get("Content-Type")?.startsWith("text/html") && response.status !== 401) {
      draw(await response.text());
    } else {
      location.reload();
    }
  } catch {
    // it may have arrived: what the machine says decides
    look();
  }
});

setInterval(() => {
  for (const elapsed of content.querySelectorAll("[data-elapsed]")) {
    const seconds = Number(elapsed.dataset.elapsed) + (performance.now() - drawnAt) / 1000;
    elapsed.textContent = `${seconds.toFixed(1)} s`;
  }
}, 100);
lookAgain();
setInterval(() => document.visibilityState === "visible" && !following && look(), LOOK_EVERY);
localise();
follow();
