// Deciding cases. The next case is loaded ahead, so it is shown at once while the decision is still being sent.
"use strict";

(() => {
  const place = desk.byId("place");
  if (!place) return;

  // A new case ignores keys for this long: a second press of a key was meant for the case before.
  const guardMs = 300;
  // The guard after a refused decision. The case comes back unexpectedly, so people need longer to see it.
  const refusedGuardMs = 1000;
  // After an undo, live news about the case may still come from before the undo. They are ignored for this long.
  const staleNewsMs = 3000;
  // How long the next case may take to load before the queue is shown instead.
  const loadTimeoutMs = 4000;
  const heartbeatMs = 60_000;
  const titleSuffix = " · visavis desk";

  // The states of a case on this page, and the states that may follow. An event that does not fit changes nothing.
  const follows = {
    // Held by somebody else, or closed: the reviewer can only look at it.
    viewed: [],
    // Decided before this page was loaded. A form can still undo it.
    pending: ["lost"],
    // Loaded and reserved for this reviewer, but never shown.
    ahead: ["arriving", "lost"],
    // Shown before; another case came back and took its place. It is the next one.
    aside: ["arriving", "lost"],
    // On the screen, but too new for keys.
    arriving: ["open", "aside", "lost"],
    // Can be decided.
    open: ["rejecting", "sent", "aside", "lost"],
    // The reviewer chooses the reasons for a rejection.
    rejecting: ["rejecting", "open", "sent", "aside", "lost"],
    // The decision was sent. The case comes back if it is refused or undone.
    sent: ["arriving", "open", "lost"],
    // No longer this reviewer's, so it cannot be decided here.
    lost: [],
  };
  const isIn = (item, ...states) => states.includes(item.state);
  const isHeld = (item) => !isIn(item, "viewed", "lost");
  const isDecidable = (item) => isHeld(item) && item.state !== "pending";
  const acceptsKeys = (item) => isIn(item, "open", "rejecting");

  // The case on the screen.
  let current = null;
  // Cases that are reserved for this reviewer, ready to be shown.
  const ahead = [];
  let preloading = null;
  // The case that the toast can undo.
  let undoable = null;

  // A case that the page knows. It keeps its article, so that it can come back unchanged.
  function make(article, firstState) {
    const { case: id, title, mine, canDecide } = article.dataset;
    const state = canDecide === "true" ? firstState : mine === "true" ? "pending" : "viewed";
    const item = { article, id, name: title, state, view: viewer.mount(article), arrival: 0, staleUntil: 0 };
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
      const confirms = event.key === "Enter" && (event.ctrlKey || event.metaKey);
      if (confirms && isIn(item, "rejecting")) reject(event.timeStamp);
    });
    form.querySelector("[data-action=stop-rejecting]").addEventListener("click", () => keys.Escape());
    const unfold = form.querySelector("[data-action=unfold]");
    unfold.addEventListener("click", () => setUnfolded(item, !sectionOf(item).classList.contains("unfolded")));
    restoreDraft(item);
    return item;
  }

  // Moves a case to a state. Returns false if the state cannot follow.
  function enter(item, state) {
    if (!follows[item.state].includes(state)) return false;
    if (item.state === "rejecting" && state !== "rejecting") hint(item, "");
    item.state = state;
    const section = sectionOf(item);
    section.classList.toggle("rejecting", state === "rejecting");
    section.classList.toggle("closed", state === "lost");
    const words = section.querySelector("[data-reject-words]");
    if (words) {
      words.textContent = state === "rejecting" ? "Confirm" : "Reject";
      section.querySelector("[data-reject-key]").textContent = state === "rejecting" ? "⏎" : "R";
    }
    return true;
  }

  const sectionOf = (item) => item.article.querySelector("#decide");
  const formOf = (item) => item.article.querySelector("[data-decide]");
  const noteOf = (item) => item.article.querySelector("#note");
  const chosen = (item, decision) => [...item.article.querySelectorAll(`[data-for=${decision}] input:checked`)];

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

  // A message above the case. Empty words remove it.
  function banner(item, words, { reload = false, calm = false } = {}) {
    item.article.querySelector(".banner")?.remove();
    if (!words) return;
    const box = document.createElement("div");
    box.className = calm ? "banner calm" : "banner";
    box.setAttribute("role", calm ? "status" : "alert");
    const paragraph = document.createElement("p");
    paragraph.textContent = words;
    box.append(paragraph);
    if (reload) {
      const link = document.createElement("a");
      link.className = "button";
      link.href = `/desk/cases/${item.id}`;
      link.textContent = "Reload the case";
      box.append(link);
    }
    item.article.querySelector(".case-head").after(box);
  }

  // The reviewer can no longer decide the case. What they typed is kept.
  function lose(item, words) {
    keepDraft(item);
    enter(item, "lost");
    for (const control of formOf(item)?.querySelectorAll("button, input, textarea") ?? []) {
      if (control.id !== "note") control.disabled = true;
    }
    item.article.querySelector(".hand-back")?.remove();
    banner(item, words, { reload: true });
  }

  // Puts a case on the screen. `pressed` is the time of the key press that caused it.
  function show(item, pressed, guard) {
    current?.view.stop();
    current = item;
    place.replaceChildren(item.article);
    document.title = item.name + titleSuffix;
    const path = `/desk/cases/${item.id}`;
    if (location.pathname !== path) history.pushState(null, "", path);
    scrollTo(0, 0);
    desk.byId("case-heading").focus({ preventScroll: true });
    enter(item, "arriving");
    arrive(item, pressed, guard);
  }

  // The case accepts keys once it has been painted and the guard time is over.
  function arrive(item, pressed, guard) {
    delete item.article.dataset.ready;
    clearTimeout(item.arrival);
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (pressed !== undefined) performance.measure("desk:next", { start: pressed, end: performance.now() });
      item.arrival = setTimeout(() => {
        if (current !== item) return;
        if (isIn(item, "arriving")) enter(item, "open");
        item.article.dataset.ready = "true";
      }, guard);
    }));
  }

  async function decide(decision, pressed) {
    const item = current;
    if (!acceptsKeys(item)) return;
    if (chosen(item, decision).some((box) => box.value === "other") && noteOf(item).value.trim() === "") {
      setUnfolded(item, true);
      hint(item, "Say in the note what the other reason is.");
      desk.announce("Say in the note what the other reason is.");
      return noteOf(item).focus();
    }
    const body = new URLSearchParams({ decision, note: noteOf(item).value });
    for (const box of chosen(item, decision)) body.append("reason", box.value);
    enter(item, "sent");
    banner(item, "");
    const answer = desk.send(`/desk/cases/${item.id}/decision`, { body, keepalive: true });
    answer.catch(() => {});
    const words = decision === "approved" ? "Approved." : "Rejected.";

    if (ahead.length === 0 && preloading) {
      hint(item, "Loading the next case…");
      await Promise.race([preloading, new Promise((done) => setTimeout(done, loadTimeoutMs))]);
      hint(item, "");
    }
    const next = ahead.shift();
    delete document.documentElement.dataset.next;
    if (!next) return toQueue(item, answer, words);

    const wasShownBefore = isIn(next, "aside");
    show(next, pressed, guardMs);
    undoable = item;
    desk.toast(words, { onUndo: () => undo(item, answer) });
    desk.announce(`${words} Next: ${next.name}.`);
    if (!wasShownBefore) reportOpened(next);
    try {
      const { undo_ms: undoMs } = await (await answer).json();
      if (undoable === item) desk.countDown(undoMs);
      preload();
    } catch (failure) {
      if (undoable === item) {
        undoable = null;
        desk.closeToast();
      }
      bringBack(item, refusedGuardMs);
      refused(item, failure);
    }
  }

  // No next case is ready, so the queue is shown. The toast appears there.
  async function toQueue(item, answer, words) {
    hint(item, "Saving…");
    try {
      const { undo_ms: undoMs } = await (await answer).json();
      sessionStorage.setItem("desk:undo", JSON.stringify({ id: item.id, words, until: Date.now() + undoMs }));
      location.assign("/desk/queue");
    } catch (failure) {
      hint(item, "");
      enter(item, "open");
      refused(item, failure);
    }
  }

  function refused(item, failure) {
    if (failure.status === 409) return lose(item, `Not saved. ${failure.message}`);
    banner(item, `Not saved. ${failure.message}`);
    if (failure.status === 422) setUnfolded(item, true);
  }

  // Shows a case again whose decision was undone or refused. The case on the screen steps aside and comes next.
  function bringBack(item, guard) {
    const displaced = current;
    if (displaced !== item && enter(displaced, "aside")) {
      ahead.unshift(displaced);
      document.documentElement.dataset.next = displaced.id;
    }
    show(item, undefined, guard);
  }

  async function undo(item, answer) {
    undoable = null;
    try {
      await answer;
      await desk.send(`/desk/cases/${item.id}/undo`);
    } catch (failure) {
      desk.toast(`Not undone. ${failure.message}`, { bad: true });
      desk.announce(`Not undone. ${failure.message}`);
      return;
    }
    item.staleUntil = performance.now() + staleNewsMs;
    bringBack(item, guardMs);
    desk.toast("Undone.");
    desk.announce(`Undone. ${item.name} again.`);
  }

  // Tells the server that a case which was only reserved is on the screen now.
  function reportOpened(item) {
    desk.send(`/desk/cases/${item.id}/opened`).catch((failure) => {
      if (failure.status === 409 && !isIn(item, "sent")) lose(item, failure.message);
    });
  }

  function preload() {
    if (preloading || ahead.length > 0 || !current || !isDecidable(current) || desk.isOver()) return;
    preloading = load().catch(() => {}).finally(() => { preloading = null; });
  }

  async function load() {
    const response = await desk.send(`/desk/next?fragment=1&after=${encodeURIComponent(current.id)}`);
    if (response.status === 204) return;
    const box = document.createElement("div");
    box.innerHTML = await response.text();
    const article = box.querySelector("article[data-case]");
    if (!article || article.dataset.case === current.id) return;
    const item = make(article, "ahead");
    ahead.push(item);
    const pictures = [...article.querySelectorAll("img")].map((picture) => picture.decode());
    Promise.allSettled(pictures).then(() => {
      if (ahead[0] === item) document.documentElement.dataset.next = item.id;
    });
  }

  // A rejection needs a reason. Without one, the reasons are offered first.
  function reject(pressed) {
    const item = current;
    if (!acceptsKeys(item)) return;
    const anyReason = item.article.querySelector("[data-for=rejected] input");
    if (chosen(item, "rejected").length > 0 || !anyReason) return decide("rejected", pressed);
    startRejecting(item);
    hint(item, "Choose at least one reason, then confirm.");
    desk.announce("Choose at least one reason, then confirm.");
  }

  function startRejecting(item) {
    if (!enter(item, "rejecting")) return;
    const section = sectionOf(item);
    // On small screens no keys are shown, so the hint does not mention them.
    const showsKeys = section.querySelector("[data-reject-key]").checkVisibility();
    hint(item, showsKeys ? "Why? Pick with 1 to 9, then Enter. Esc cancels." : "Why? Choose, then confirm.");
    const focus = document.activeElement;
    if (section.contains(focus) && !focus.matches("[data-action=reject]")) return;
    section.querySelector("[data-for=rejected] input")?.focus();
  }

  const keys = {
    a: (event) => {
      if (isIn(current, "rejecting")) hint(current, "You are rejecting. Enter confirms, Esc cancels.");
      else decide("approved", event.timeStamp);
    },
    r: () => startRejecting(current),
    Enter: (event) => {
      if (!isIn(current, "rejecting") || event.target.closest("button, a, summary")) return false;
      reject(event.timeStamp);
    },
    Escape: () => {
      if (!isIn(current, "rejecting")) return false;
      enter(current, "open");
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
    "+": () => current.view.zoomIn(),
    "=": () => current.view.zoomIn(),
    "-": () => current.view.zoomOut(),
    0: () => current.view.reset(),
  };
  for (const [key, act] of Object.entries(keys)) desk.keys.set(key, act);
  for (let digit = 1; digit <= 9; digit += 1) {
    desk.keys.set(String(digit), () => {
      const box = isIn(current, "rejecting") && current.article.querySelector(`[data-digit="${digit}"]`);
      if (!box) return false;
      box.click();
      box.focus();
    });
  }

  // Counts down the undo time of a decision that was made before this page was loaded.
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

  // Keeps the note and the reasons of a case when the session or the hold on the case ends.
  function keepDraft(item) {
    const note = item && formOf(item) && noteOf(item);
    if (!note) return;
    const reasons = [...item.article.querySelectorAll("input[name=reason]:checked")].map((box) => box.value);
    sessionStorage.setItem(`desk:draft:${item.id}`, JSON.stringify({ note: note.value, reasons }));
  }

  desk.events.addEventListener("session-over", () => [current, undoable].forEach(keepDraft));

  function restoreDraft(item) {
    const kept = sessionStorage.getItem(`desk:draft:${item.id}`);
    if (!kept) return;
    sessionStorage.removeItem(`desk:draft:${item.id}`);
    const { note, reasons } = JSON.parse(kept);
    noteOf(item).value = note;
    for (const box of item.article.querySelectorAll("input[name=reason]")) box.checked = reasons.includes(box.value);
    setUnfolded(item, true);
  }

  // Forgets a case that was loaded ahead and is lost, and loads another one.
  function dropAhead(id) {
    const at = ahead.findIndex((item) => item.id === id);
    if (at < 0) return;
    ahead.splice(at, 1);
    delete document.documentElement.dataset.next;
    preload();
  }

  // A case changed: this one, one that was loaded ahead, or another one of the queue.
  function onNews(news) {
    const isOver = ["settling", "decided", "lapsed", "erased"].includes(news.state);
    if (ahead.some((item) => item.id === news.id)) {
      if (!news.mine && (news.holder || isOver)) dropAhead(news.id);
      return;
    }
    if (news.id !== current.id) {
      if (news.state === "waiting" && !news.holder) preload();
      return;
    }
    if (isIn(current, "sent") || performance.now() < current.staleUntil) return;
    const hasChanged = showState(current, news);
    if (isHeld(current) && !news.mine) {
      const why = news.holder ? `${news.holder} has this case now. You cannot decide it.`
        : isOver ? `This case is no longer open: ${news.state_words}.` : "You no longer hold this case.";
      lose(current, why);
    } else if (!isHeld(current) && (news.mine || hasChanged)) {
      banner(current, `This case has changed: ${news.state_words}.`, { reload: true, calm: true });
    }
  }

  // Shows the state and the holder from the news. Returns whether the state is another one than before.
  function showState(item, news) {
    const state = item.article.querySelector(".case-meta [data-cell=state]");
    const hasChanged = state.textContent !== news.state_words;
    state.textContent = news.state_words;
    state.className = `state ${news.state}`;
    const holder = news.mine ? "you" : news.holder ?? "nobody";
    item.article.querySelector(".case-meta [data-cell=holder]").textContent = `held by ${holder}`;
    return hasChanged;
  }

  // Keeps the cases that this page holds. A hidden page lets them go.
  function heartbeat() {
    if (document.hidden || desk.isOver()) return;
    for (const item of [current, ...ahead]) {
      if (!isHeld(item) || isIn(item, "sent")) continue;
      desk.send(`/desk/cases/${item.id}/heartbeat`).catch((failure) => {
        if (failure.status !== 409) return;
        if (item === current && !isIn(item, "sent")) lose(item, failure.message);
        dropAhead(item.id);
      });
    }
    preload();
  }

  // A case that was reserved and never shown goes back to the queue at once.
  addEventListener("pagehide", () => {
    for (const item of ahead.splice(0)) {
      desk.send(`/desk/cases/${item.id}/hand-back?ahead=1`, { keepalive: true }).catch(() => {});
    }
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("popstate", () => { if (location.pathname !== `/desk/cases/${current.id}`) location.reload(); });

  current = make(place.querySelector("article[data-case]"), "arriving");
  arrive(current, undefined, 0);
  countSettling(current);
  desk.live(onNews);
  setInterval(heartbeat, heartbeatMs);
  document.addEventListener("visibilitychange", heartbeat);
  if (document.readyState === "complete") preload();
  else addEventListener("load", preload);
})();
