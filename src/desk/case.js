// Deciding: the next case waits ready, is shown at once, and the decision is sent meanwhile.
"use strict";

(() => {
  const place = desk.byId("place");
  if (!place) return;

  // How long a case must have been in view before a key decides it: a second press is not about the next case.
  const settleMs = 300;
  const suffix = " · visavis desk";

  let current = null;
  // Reserved for this reviewer, ready to be shown.
  const ahead = [];
  let preloading = null;
  // The case that the toast is about.
  let undoable = null;

  // A case that the page knows: its article is kept, so that it can come back as it was.
  function make(article) {
    const item = {
      article, id: article.dataset.case, name: article.dataset.title,
      mine: article.dataset.mine === "true", canDecide: article.dataset.canDecide === "true",
      view: viewer.mount(article), opened: false, busy: false, readyAt: Infinity, quietUntil: 0,
    };
    const form = formOf(item);
    if (!form) return item;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const decision = event.submitter?.value;
      if (decision === "approved") decide("approved", event.timeStamp);
      if (decision === "rejected") reject(event.timeStamp);
    });
    form.addEventListener("change", () => hint(item, ""));
    noteOf(item).addEventListener("keydown", (event) => {
      if (event.key === "Escape") desk.byId("case-heading").focus({ preventScroll: true });
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && isRejecting(item)) reject(event.timeStamp);
    });
    form.querySelector("[data-action=stop-rejecting]").addEventListener("click", () => keys.Escape());
    const unfold = form.querySelector("[data-action=unfold]");
    unfold.addEventListener("click", () => setUnfolded(item, !sectionOf(item).classList.contains("unfolded")));
    restoreDraft(item);
    return item;
  }

  const sectionOf = (item) => item.article.querySelector("#decide");
  const formOf = (item) => item.article.querySelector("[data-decide]");
  const noteOf = (item) => item.article.querySelector("#note");
  const chosen = (item, decision) => [...item.article.querySelectorAll(`[data-for=${decision}] input:checked`)];
  const isRejecting = (item) => sectionOf(item).classList.contains("rejecting");
  const mayDecide = (item) => item.canDecide && !item.busy && performance.now() >= item.readyAt;

  function setUnfolded(item, open) {
    sectionOf(item).classList.toggle("unfolded", open);
    item.article.querySelector("[data-action=unfold]")?.setAttribute("aria-expanded", String(open));
  }

  function hint(item, words) {
    const line = item.article.querySelector("[data-hint]");
    if (!line) return;
    line.textContent = words;
    line.hidden = !words;
  }

  // Above the case: what the reviewer must know now.
  function banner(item, words, { reload = false, calm = false } = {}) {
    item.article.querySelector(".banner")?.remove();
    if (!words) return;
    const box = document.createElement("div");
    box.className = calm ? "banner calm" : "banner";
    box.setAttribute("role", calm ? "status" : "alert");
    const says = document.createElement("p");
    says.textContent = words;
    box.append(says);
    if (reload) {
      const link = document.createElement("a");
      link.className = "button";
      link.href = `/desk/cases/${item.id}`;
      link.textContent = "Reload the case";
      box.append(link);
    }
    item.article.querySelector(".case-head").after(box);
  }

  // Nothing can be decided here any more.
  function close(item, words) {
    keepDraft(item);
    item.mine = item.canDecide = false;
    sectionOf(item).classList.add("closed");
    for (const control of formOf(item)?.querySelectorAll("button, input, textarea") ?? []) if (control.id !== "note") control.disabled = true;
    item.article.querySelector(".hand-back")?.remove();
    banner(item, words, { reload: true });
  }

  // Puts a case into the page; `pressed` is when the key was that asked for it.
  function show(item, pressed, guard) {
    current?.view.stop();
    current = item;
    place.replaceChildren(item.article);
    document.title = item.name + suffix;
    const path = `/desk/cases/${item.id}`;
    if (location.pathname !== path) history.pushState(null, "", path);
    scrollTo(0, 0);
    desk.byId("case-heading").focus({ preventScroll: true });
    arrive(item, pressed, guard);
  }

  // Keys decide nothing for a moment: whoever pressed one meant the case before.
  function arrive(item, pressed, guard = pressed === undefined ? 0 : settleMs) {
    delete item.article.dataset.ready;
    item.readyAt = Infinity;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (pressed !== undefined) performance.measure("desk:next", { start: pressed, end: performance.now() });
      if (current !== item) return;
      item.readyAt = performance.now() + guard;
      setTimeout(() => { if (current === item) item.article.dataset.ready = "true"; }, guard);
    }));
  }

  async function decide(decision, pressed) {
    const item = current;
    if (!mayDecide(item)) return;
    if (chosen(item, decision).some((box) => box.value === "other") && noteOf(item).value.trim() === "") {
      setUnfolded(item, true);
      hint(item, "Say in the note what the other reason is.");
      desk.announce("Say in the note what the other reason is.");
      return noteOf(item).focus();
    }
    const body = new URLSearchParams({ csrf: desk.csrf(), decision, note: noteOf(item).value });
    for (const box of chosen(item, decision)) body.append("reason", box.value);
    item.busy = true;
    banner(item, "");
    stopRejecting(item);
    const sent = desk.send(`/desk/cases/${item.id}/decision`, { body, keepalive: true });
    sent.catch(() => {});
    const words = decision === "approved" ? "Approved." : "Rejected.";

    if (ahead.length === 0 && preloading) {
      hint(item, "Loading the next case…");
      await Promise.race([preloading, new Promise((done) => setTimeout(done, 4000))]);
      hint(item, "");
    }
    const next = ahead.shift();
    delete document.documentElement.dataset.next;
    if (!next) return toQueue(item, sent, words);

    show(next, pressed);
    undoable = item;
    desk.toast(words, { onUndo: () => undo(item, sent) });
    desk.announce(`${words} Next: ${next.name}.`);
    open(next);
    try {
      const { undo_ms: undoMs } = await (await sent).json();
      if (undoable === item) desk.countDown(undoMs);
      preload();
    } catch (failure) {
      if (undoable === item) {
        undoable = null;
        desk.closeToast();
      }
      bringBack(item, 1000);
      refused(item, failure);
    }
  }

  // Nothing is ready: the queue shows what there is. It shows the toast, too.
  async function toQueue(item, sent, words) {
    hint(item, "Saving…");
    try {
      const { undo_ms: undoMs } = await (await sent).json();
      sessionStorage.setItem("desk:undo", JSON.stringify({ id: item.id, words, until: Date.now() + undoMs }));
      location.assign("/desk/queue");
    } catch (failure) {
      hint(item, "");
      item.busy = false;
      refused(item, failure);
    }
  }

  function refused(item, failure) {
    if (failure.status === 409) return close(item, `Not saved. ${failure.message}`);
    banner(item, `Not saved. ${failure.message}`);
    if (failure.status === 422) setUnfolded(item, true);
  }

  function bringBack(item, guard) {
    const displaced = current;
    item.busy = false;
    if (displaced !== item && displaced.canDecide && !displaced.busy) {
      ahead.unshift(displaced);
      document.documentElement.dataset.next = displaced.id;
    }
    show(item, undefined, guard);
  }

  async function undo(item, sent) {
    undoable = null;
    try {
      await sent;
      await desk.send(`/desk/cases/${item.id}/undo`);
    } catch (failure) {
      desk.toast(`Not undone. ${failure.message}`, { bad: true });
      desk.announce(`Not undone. ${failure.message}`);
      return;
    }
    item.quietUntil = performance.now() + 3000;
    bringBack(item, settleMs);
    desk.toast("Undone.");
    desk.announce(`Undone. ${item.name} again.`);
  }

  // Tells that a case which had only been reserved is on the screen now.
  function open(item) {
    if (item.opened) return;
    item.opened = true;
    desk.send(`/desk/cases/${item.id}/opened`).catch((failure) => { if (failure.status === 409 && !item.busy) close(item, failure.message); });
  }

  function preload() {
    if (preloading || ahead.length > 0 || !current?.canDecide || desk.isOver()) return;
    preloading = load().catch(() => {}).finally(() => { preloading = null; });
  }

  async function load() {
    const response = await desk.send(`/desk/next?fragment=1&after=${encodeURIComponent(current.id)}`);
    if (response.status === 204) return;
    const box = document.createElement("div");
    box.innerHTML = await response.text();
    const article = box.querySelector("article[data-case]");
    if (!article || article.dataset.case === current.id) return;
    const item = make(article);
    ahead.push(item);
    const pictures = [...article.querySelectorAll("img")].map((picture) => picture.decode());
    Promise.allSettled(pictures).then(() => { if (ahead[0] === item) document.documentElement.dataset.next = item.id; });
  }

  // Rejecting takes a reason. Without one the reasons come forward.
  function reject(pressed) {
    const item = current;
    if (!mayDecide(item)) return;
    const anyReason = item.article.querySelector("[data-for=rejected] input");
    if (chosen(item, "rejected").length > 0 || !anyReason) return decide("rejected", pressed);
    startRejecting(item);
    hint(item, "Choose at least one reason, then confirm.");
    desk.announce("Choose at least one reason, then confirm.");
  }

  function startRejecting(item) {
    if (!mayDecide(item)) return;
    sectionOf(item).classList.add("rejecting");
    item.article.querySelector("[data-reject-words]").textContent = "Confirm";
    const key = item.article.querySelector("[data-reject-key]");
    key.textContent = "⏎";
    // Where no keys are shown, none are spoken of.
    hint(item, key.checkVisibility() ? "Why? Pick with 1 to 9, then Enter. Esc stops." : "Why? Choose, then confirm.");
    if (!desk.byId("decide").contains(document.activeElement) || document.activeElement.matches("[data-action=reject]")) item.article.querySelector("[data-for=rejected] input")?.focus();
  }

  function stopRejecting(item) {
    if (!isRejecting(item)) return;
    sectionOf(item).classList.remove("rejecting");
    item.article.querySelector("[data-reject-words]").textContent = "Reject";
    item.article.querySelector("[data-reject-key]").textContent = "R";
    hint(item, "");
  }

  const keys = {
    a: (event) => {
      if (isRejecting(current)) hint(current, "You are rejecting. Enter confirms, Esc stops.");
      else if (current.canDecide) decide("approved", event.timeStamp);
    },
    r: () => startRejecting(current),
    Enter: (event) => {
      if (!isRejecting(current) || event.target.closest("button, a, summary")) return false;
      reject(event.timeStamp);
    },
    Escape: () => {
      if (!isRejecting(current)) return false;
      stopRejecting(current);
      current.article.querySelector("[data-action=reject]").focus();
    },
    n: () => {
      setUnfolded(current, true);
      const details = noteOf(current)?.closest("details");
      if (details) details.open = true;
      noteOf(current)?.focus();
    },
    h: () => current.article.querySelector("[data-action=hand-back]")?.click(),
    u: () => { if (!desk.undoLast()) current.article.querySelector("[data-action=undo]")?.click(); },
    b: () => current.view.blink(),
    w: () => current.view.wipe(),
    "+": () => current.view.zoom(1.25),
    "=": () => current.view.zoom(1.25),
    "-": () => current.view.zoom(0.8),
    0: () => current.view.reset(),
  };
  for (const [key, act] of Object.entries(keys)) desk.keys.set(key, act);
  for (let digit = 1; digit <= 9; digit += 1) {
    desk.keys.set(String(digit), () => {
      const box = isRejecting(current) && current.article.querySelector(`[data-digit="${digit}"]`);
      if (!box) return false;
      box.click();
      box.focus();
    });
  }

  // A decision that can still be undone, made before this page was loaded.
  function countSettling(item) {
    const box = item.article.querySelector("[data-settling]");
    if (!box) return;
    const words = box.querySelector("[data-settling-words]");
    const end = performance.now() + Number(box.dataset.settling);
    const timer = setInterval(() => {
      const left = Math.ceil((end - performance.now()) / 1000);
      if (left > 0) {
        if (!desk.calm.matches) words.textContent = `final in ${left} s`;
        return;
      }
      clearInterval(timer);
      words.textContent = "final now";
      box.querySelector("form")?.remove();
    }, 250);
  }

  // What was typed when the session or the hold on a case ended.
  function keepDraft(item) {
    const note = item && formOf(item) && noteOf(item);
    if (!note) return;
    const reasons = [...item.article.querySelectorAll("input[name=reason]:checked")].map((box) => box.value);
    sessionStorage.setItem(`desk:draft:${item.id}`, JSON.stringify({ note: note.value, reasons }));
  }

  desk.leaving.addEventListener("session-over", () => [current, undoable].forEach(keepDraft));

  function restoreDraft(item) {
    const kept = sessionStorage.getItem(`desk:draft:${item.id}`);
    if (!kept) return;
    sessionStorage.removeItem(`desk:draft:${item.id}`);
    const { note, reasons } = JSON.parse(kept);
    noteOf(item).value = note;
    for (const box of item.article.querySelectorAll("input[name=reason]")) box.checked = reasons.includes(box.value);
    setUnfolded(item, true);
  }

  function tell(news) {
    const over = ["settling", "decided", "lapsed", "erased"].includes(news.state);
    const waiting = ahead.findIndex((item) => item.id === news.id);
    if (waiting >= 0) {
      if (news.mine || (!news.holder && !over)) return;
      ahead.splice(waiting, 1);
      delete document.documentElement.dataset.next;
      return preload();
    }
    if (news.id !== current.id) {
      if (news.state === "waiting" && !news.holder) preload();
      return;
    }
    if (current.busy || performance.now() < current.quietUntil) return;
    const state = current.article.querySelector(".case-meta [data-cell=state]");
    const changed = state.textContent !== news.state_words;
    state.textContent = news.state_words;
    state.className = `state ${news.state}`;
    current.article.querySelector(".case-meta [data-cell=holder]").textContent = news.mine ? "held by you" : news.holder ? `held by ${news.holder}` : "held by nobody";
    if (current.mine && !news.mine) close(current, news.holder ? `${news.holder} has this case now. You cannot decide it.` : over ? `This case is no longer open: ${news.state_words}.` : "You no longer hold this case.");
    else if (!current.mine && (news.mine || changed)) banner(current, `This case has changed: ${news.state_words}.`, { reload: true, calm: true });
  }

  function beat() {
    if (document.hidden || desk.isOver()) return;
    for (const item of [current, ...ahead]) {
      if (!item.mine || item.busy) continue;
      desk.send(`/desk/cases/${item.id}/heartbeat`).catch((failure) => {
        if (failure.status !== 409) return;
        if (item === current && !item.busy) close(item, failure.message);
        const at = ahead.indexOf(item);
        if (at >= 0) ahead.splice(at, 1);
      });
    }
    preload();
  }

  // Nobody else should wait for a case that was reserved and never shown.
  addEventListener("pagehide", () => {
    for (const item of ahead.splice(0)) desk.send(`/desk/cases/${item.id}/hand-back?ahead=1`, { keepalive: true }).catch(() => {});
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("popstate", () => { if (location.pathname !== `/desk/cases/${current.id}`) location.reload(); });

  current = make(place.querySelector("article[data-case]"));
  current.opened = true;
  arrive(current);
  countSettling(current);
  desk.live(tell);
  setInterval(beat, 60_000);
  document.addEventListener("visibilitychange", beat);
  if (document.readyState === "complete") preload();
  else addEventListener("load", preload);
})();
