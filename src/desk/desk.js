// What all pages of the desk share: requests, dialogs, the toast, live news, and single-key shortcuts.
"use strict";

document.documentElement.classList.add("js");

const desk = (() => {
  const byId = (id) => document.getElementById(id);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const csrf = () => document.querySelector("meta[name=csrf]")?.content ?? "";

  // A request that failed. `status` is 0 if no answer came.
  class Failure extends Error {
    constructor(status, detail) {
      super(detail);
      this.status = status;
    }
  }

  const unreachable = "The server cannot be reached. Check the connection, then try again.";

  // Sends a request with the page's CSRF token. Resolves to the response; throws a Failure unless it succeeded.
  async function send(path, { method = "POST", body, keepalive = false, signal } = {}) {
    let response;
    try {
      response = await fetch(path, {
        method, keepalive, signal, redirect: "error", credentials: "same-origin",
        headers: { "X-CSRF-Token": csrf(), ...(body ? { "Content-Type": "application/x-www-form-urlencoded" } : {}) },
        body: body?.toString(),
      });
    } catch {
      throw new Failure(0, unreachable);
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    if (response.status === 401) sessionOver();
    const unknown = `The server answered with status ${response.status}. Try again.`;
    throw new Failure(response.status, problem.detail ?? unknown);
  }

  // Screen readers read these words out.
  function announce(words) {
    const status = byId("status");
    if (status) status.textContent = words;
  }

  // Emits `session-over` before the dialog says that the session has ended.
  const events = new EventTarget();

  let over = false;

  function sessionOver() {
    over = true;
    const dialog = byId("session");
    if (!dialog || dialog.open) return;
    events.dispatchEvent(new Event("session-over"));
    dialog.showModal();
  }

  // The toast: the last decision, and how long it can still be undone.
  const toastMs = 6000;
  const badToastMs = 15_000;
  // With less time left, the undo would come too late.
  const leastUndoMs = 500;
  let clock = 0;
  let undo = null;

  function toast(words, { bad = false, onUndo = null } = {}) {
    const box = byId("toast");
    clearInterval(clock);
    undo = onUndo;
    box.classList.toggle("bad", bad);
    box.querySelector(".toast-words").textContent = words;
    box.querySelector(".toast-time").textContent = "";
    box.querySelector(".toast-clock").toggleAttribute("hidden", true);
    box.querySelector("[data-action=undo]").hidden = !onUndo;
    box.hidden = false;
    if (!onUndo) clock = setTimeout(closeToast, bad ? badToastMs : toastMs);
  }

  function countDown(milliseconds) {
    const box = byId("toast");
    const end = performance.now() + milliseconds;
    const time = box.querySelector(".toast-time");
    const ring = box.querySelector(".toast-left");
    clearInterval(clock);
    if (calm.matches) {
      time.textContent = `within ${Math.round(milliseconds / 1000)} s`;
      clock = setTimeout(closeToast, milliseconds);
      return;
    }
    box.querySelector(".toast-clock").toggleAttribute("hidden", false);
    const tick = () => {
      const left = end - performance.now();
      if (left <= 0) return closeToast();
      time.textContent = `${Math.ceil(left / 1000)} s`;
      ring.style.strokeDashoffset = String(100 - (100 * left) / milliseconds);
    };
    tick();
    clock = setInterval(tick, 100);
  }

  function closeToast() {
    const box = byId("toast");
    clearInterval(clock);
    undo = null;
    if (!box || box.hidden) return;
    if (box.contains(document.activeElement)) (byId("case-heading") ?? byId("main")).focus();
    box.hidden = true;
  }

  // Returns false if there is nothing to undo.
  function undoLast() {
    if (!undo) return false;
    const act = undo;
    undo = null;
    clearInterval(clock);
    act();
    return true;
  }

  // Shows the toast for a decision that was made on the page before this one.
  function toastFromBefore() {
    const kept = sessionStorage.getItem("desk:undo");
    sessionStorage.removeItem("desk:undo");
    if (!kept || !byId("toast")) return;
    const { id, words, until } = JSON.parse(kept);
    const left = until - Date.now();
    if (left < leastUndoMs) return;
    toast(words, {
      onUndo: () => send(`/desk/cases/${id}/undo`).then(
        () => location.assign(`/desk/cases/${id}`),
        (failure) => toast(`Not undone. ${failure.message}`, { bad: true }),
      ),
    });
    countDown(left);
    announce(`${words} Undo with U.`);
  }

  // Single-key shortcuts: what each key does. An action returns false if it does not apply.
  const keys = new Map([["u", () => undoLast()]]);
  const keysOn = () => localStorage.getItem("desk:keys") !== "off";
  const showKeys = () => document.documentElement.classList.toggle("keys-off", !keysOn());
  showKeys();

  function isTyping(target) {
    if (!(target instanceof Element)) return false;
    if (target.closest("textarea, select, [contenteditable]")) return true;
    const withoutText = ["checkbox", "radio", "range", "button", "submit"];
    return target instanceof HTMLInputElement && !withoutText.includes(target.type);
  }

  function onKeyDown(event) {
    if (event.defaultPrevented || event.isComposing) return;
    if (isTyping(event.target)) return;
    const isControl = event.ctrlKey || event.metaKey;
    if (isControl && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "z") {
      if (undoLast()) event.preventDefault();
      return;
    }
    if (isControl || event.altKey || event.repeat || !keysOn()) return;
    const help = byId("help");
    if (event.key === "?" && help) {
      event.preventDefault();
      if (help.open) help.close();
      else if (!document.querySelector("dialog[open]")) help.showModal();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const act = keys.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (act && act(event) !== false) event.preventDefault();
  }

  // Live news about cases. The connection is closed while the page is hidden.
  function live(onCase) {
    const retryMs = 5000;
    const sign = byId("live");
    let source = null;
    let retry = 0;
    const say = (state) => {
      sign.dataset.live = state;
      sign.querySelector(".link-words").textContent = state === "open" ? "Live" : "Reconnecting…";
      sign.hidden = false;
    };
    const open = () => {
      clearTimeout(retry);
      source?.close();
      source = new EventSource("/desk/live");
      source.onopen = () => say("open");
      source.addEventListener("case", (event) => onCase(JSON.parse(event.data)));
      source.onerror = () => {
        say("lost");
        if (source.readyState === EventSource.CLOSED) askWhy();
      };
    };
    // An EventSource does not say why it gave up. A request of our own tells whether the session has ended.
    const askWhy = async () => {
      const stop = new AbortController();
      const answer = await send("/desk/live", { method: "GET", signal: stop.signal }).catch((failure) => failure);
      stop.abort();
      if (answer.status === 401) return;
      retry = setTimeout(() => { if (!document.hidden) open(); }, retryMs);
    };
    const close = () => {
      clearTimeout(retry);
      source?.close();
      source = null;
    };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    addEventListener("pagehide", close);
    if (!document.hidden) open();
  }

  // The queue page: its rows follow the live news.
  function queue() {
    const leaveMs = 800;
    // Cases that are waiting but not listed yet.
    const fresh = new Set();
    const stateOf = (row) => row.querySelector("[data-cell=state]");
    const leave = (row) => {
      const gone = () => {
        const next = row.nextElementSibling ?? row.previousElementSibling;
        if (row.contains(document.activeElement)) (next?.querySelector("a") ?? byId("main")).focus();
        row.remove();
        if (!next) location.reload();
      };
      if (row.classList.contains("leaving")) return;
      row.classList.add("leaving");
      setTimeout(gone, calm.matches ? 0 : leaveMs);
    };
    live((news) => {
      const row = document.querySelector(`[data-row="${CSS.escape(news.id)}"]`);
      const over = ["decided", "lapsed", "erased"].includes(news.state);
      if (!row) {
        if (over || news.holder || news.mine) fresh.delete(news.id);
        else if (news.state === "waiting") fresh.add(news.id);
        // An empty list can be reloaded: nobody is reading it.
        if (fresh.size > 0 && document.querySelector("[data-empty]")) return location.reload();
        const place = document.querySelector(".fresh");
        place.hidden = fresh.size === 0;
        place.firstElementChild.textContent = fresh.size === 1 ? "1 new case: show" : `${fresh.size} new cases: show`;
        return;
      }
      stateOf(row).textContent = news.state_words;
      stateOf(row).className = `state ${news.state}`;
      row.dataset.state = news.state;
      row.toggleAttribute("data-mine", news.mine);
      const holder = row.querySelector("[data-cell=holder]");
      const words = document.createElement(news.mine ? "strong" : "span");
      words.className = news.mine || news.holder ? "" : "soft";
      words.textContent = news.mine ? "you" : news.holder ?? "nobody";
      holder.replaceChildren(words);
      row.classList.remove("changed");
      if (over) leave(row);
      else requestAnimationFrame(() => row.classList.add("changed"));
    });
    const showNew = document.querySelector("[data-action=show-new]");
    showNew.addEventListener("click", () => location.assign(`${location.pathname}${location.search}`));
    keys.set("s", () => document.querySelector("[data-action=next]")?.click());
  }

  function start() {
    document.addEventListener("keydown", onKeyDown);
    const toastBox = byId("toast");
    toastBox?.querySelector("[data-action=undo]").addEventListener("click", undoLast);
    toastBox?.querySelector("[data-action=dismiss]").addEventListener("click", closeToast);
    // Signing in leads back to the case that is on the screen when the link is clicked.
    document.querySelector("#session [data-action=sign-in]")?.addEventListener("click", (event) => {
      event.currentTarget.href = `/desk/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
    });
    document.querySelector("[data-action=help]")?.addEventListener("click", () => byId("help").showModal());
    const choice = byId("keys");
    if (choice) {
      choice.checked = keysOn();
      choice.addEventListener("change", () => {
        localStorage.setItem("desk:keys", choice.checked ? "on" : "off");
        showKeys();
      });
    }
    const menu = document.querySelector(".menu");
    menu?.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
      event.preventDefault();
    });
    document.addEventListener("click", (event) => {
      if (menu?.open && !menu.contains(event.target)) menu.open = false;
    });
    toastFromBefore();
    if (document.querySelector("[data-action=next]")) queue();
  }
  addEventListener("DOMContentLoaded", start);

  return {
    byId, calm, csrf, send, announce, events, isOver: () => over, toast, countDown, closeToast, undoLast, keys, live,
  };
})();
