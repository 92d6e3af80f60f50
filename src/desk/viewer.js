// The pictures of a case: side by side, wipe or blink; faces or whole pictures. Both sides share zoom and position.
"use strict";

const viewer = (() => {
  const maxZoom = 8;
  const zoomStep = 1.25;
  // From here on a zoom counts as 100 %, so that steps in and out meet there.
  const nearlyWhole = 0.02;
  const blinkMs = 700;
  // The wheel does not zoom within this time after the page scrolled.
  const scrollMs = 400;
  // A pointer that moved less was clicked, not dragged.
  const clickPx = 4;
  const arrowPercent = 6;

  // Makes the pictures of one case work. Called once for each article. Returns the actions that keys need.
  function mount(article) {
    const box = article.querySelector(".viewer");
    const stage = box.querySelector("[data-stage]");
    const both = stage.querySelectorAll("img.whole").length === 2;
    const at = { zoom: 1, x: 0, y: 0 };
    let blinking = 0;

    for (const picture of box.querySelectorAll("[data-level]")) {
      picture.style.setProperty("--level", `${Number(picture.dataset.level) || 0}deg`);
    }
    stage.tabIndex = 0;
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", "Pictures. Plus and minus zoom, arrow keys move.");

    function place() {
      // A part of the picture always stays in its frame.
      const limit = 50 * at.zoom;
      at.x = Math.max(-limit, Math.min(limit, at.x));
      at.y = Math.max(-limit, Math.min(limit, at.y));
      if (at.zoom === 1) at.x = at.y = 0;
      box.style.setProperty("--zoom", String(at.zoom));
      box.style.setProperty("--x", `${at.x}%`);
      box.style.setProperty("--y", `${at.y}%`);
      stage.classList.toggle("zoomed", at.zoom > 1);
      const words = box.querySelector("[data-zoom-words]");
      words.textContent = `${Math.round(at.zoom * 100)} %`;
      words.setAttribute("aria-label", `Zoom: ${words.textContent}. Reset`);
    }

    // Zooms around a point of the frame, given in percent from its centre.
    function zoom(factor, x = 0, y = 0) {
      const to = Math.max(1, Math.min(maxZoom, at.zoom * factor));
      const ratio = to / at.zoom;
      at.x = x - (x - at.x) * ratio;
      at.y = y - (y - at.y) * ratio;
      at.zoom = Math.abs(to - 1) < nearlyWhole ? 1 : to;
      place();
    }

    const zoomIn = () => zoom(zoomStep);
    const zoomOut = () => zoom(1 / zoomStep);

    function reset() {
      Object.assign(at, { zoom: 1, x: 0, y: 0 });
      place();
    }

    function stopBlinking() {
      clearInterval(blinking);
      blinking = 0;
    }

    function show(side) {
      box.dataset.blink = side;
    }

    function setMode(mode) {
      stopBlinking();
      box.dataset.mode = mode;
      if (mode === "blink") {
        show("reference");
        if (!desk.calm.matches) blinking = setInterval(swap, blinkMs);
      }
      for (const button of box.querySelectorAll("[data-mode-choice]")) {
        button.setAttribute("aria-pressed", String(button.dataset.modeChoice === mode));
      }
    }

    function swap() {
      if (!box.isConnected) return stopBlinking();
      show(box.dataset.blink === "reference" ? "probe" : "reference");
    }

    // Starts blinking, or stops it. Where reduced motion is asked for, each press shows the other side instead.
    function blink() {
      if (!both) return;
      if (box.dataset.mode !== "blink") setMode("blink");
      else if (desk.calm.matches) swap();
      else setMode("side");
    }

    function wipe() {
      if (both) setMode(box.dataset.mode === "wipe" ? "side" : "wipe");
    }

    function setWipe(percent) {
      const value = Math.max(0, Math.min(100, percent));
      box.querySelector("[data-wipe]").value = String(value);
      box.style.setProperty("--wipe", `${value}%`);
    }

    function setView(view) {
      box.dataset.view = view;
      for (const button of box.querySelectorAll("[data-view-choice]")) {
        button.setAttribute("aria-pressed", String(button.dataset.viewChoice === view));
      }
      reset();
    }

    box.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const { modeChoice, viewChoice, zoom: way } = button.dataset;
      if (modeChoice === "blink") blink();
      else if (modeChoice) setMode(modeChoice);
      if (viewChoice) setView(viewChoice);
      if (way === "in") zoomIn();
      if (way === "out") zoomOut();
      if (way === "reset") reset();
    });
    box.querySelector("[data-wipe]").addEventListener("input", (event) => setWipe(Number(event.target.value)));

    // Where a pointer is in the frame that `element` belongs to, in percent from the frame's centre.
    function pointIn(element, event) {
      const frame = element?.closest(".frame") ?? stage.querySelector(".frame");
      const { left, top, width, height } = frame.getBoundingClientRect();
      return { x: ((event.clientX - left) / width - 0.5) * 100, y: ((event.clientY - top) / height - 0.5) * 100 };
    }

    // The wheel zooms, unless the page is scrolling or there is nothing to zoom out of.
    stage.addEventListener("wheel", (event) => {
      const scrolling = event.timeStamp - lastScroll < scrollMs;
      if (!event.ctrlKey && (scrolling || (event.deltaY > 0 && at.zoom === 1))) return;
      event.preventDefault();
      const { x, y } = pointIn(event.target, event);
      zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 400), x, y);
    }, { passive: false });

    const pointers = new Map();
    let moved = 0;
    const spread = () => {
      const [a, b] = [...pointers.values()];
      return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    };
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest("button")) return;
      pointers.set(event.pointerId, event);
      moved = 0;
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const spreadBefore = pointers.size === 2 ? spread() : 0;
      pointers.set(event.pointerId, event);
      moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
      if (moved < clickPx) return;
      stage.classList.add("dragging");
      const frame = stage.querySelector(".frame").getBoundingClientRect();
      if (spreadBefore) return zoom(spread() / spreadBefore);
      if (box.dataset.mode === "wipe" && at.zoom === 1) {
        return setWipe(((event.clientX - frame.left) / frame.width) * 100);
      }
      at.x += ((event.clientX - before.clientX) / frame.width) * 100;
      at.y += ((event.clientY - before.clientY) / frame.height) * 100;
      place();
    });
    const release = (event) => {
      const wasDown = pointers.delete(event.pointerId);
      stage.classList.remove("dragging");
      // A click moves the clicked point to the centre. The stage has captured the pointer, so the event does not name
      // the picture below it.
      if (wasDown && event.type === "pointerup" && moved < clickPx && at.zoom > 1) {
        const { x, y } = pointIn(document.elementFromPoint(event.clientX, event.clientY), event);
        at.x -= x;
        at.y -= y;
        place();
      }
    };
    stage.addEventListener("pointerup", release);
    stage.addEventListener("pointercancel", release);
    stage.addEventListener("keydown", (event) => {
      const steps = {
        ArrowLeft: [arrowPercent, 0], ArrowRight: [-arrowPercent, 0],
        ArrowUp: [0, arrowPercent], ArrowDown: [0, -arrowPercent],
      };
      const step = steps[event.key];
      if (!step || event.target !== stage || at.zoom === 1) return;
      event.preventDefault();
      at.x += step[0];
      at.y += step[1];
      place();
    });

    watchPictures(article);
    const stop = () => { if (box.dataset.mode === "blink") setMode("side"); };
    return { zoomIn, zoomOut, reset, wipe, blink, stop };
  }

  // A picture that does not load gets a fresh link once. If that fails, its frame says so.
  function watchPictures(article) {
    // The request for fresh links; all pictures share it.
    let links = null;
    const pictures = [...article.querySelectorAll("img[data-role]")];

    function showBroken(picture, words) {
      removeNote(picture);
      const note = document.createElement("div");
      note.className = `broken ${picture.className}`;
      const paragraph = document.createElement("p");
      paragraph.textContent = words;
      const again = document.createElement("button");
      again.type = "button";
      again.textContent = "Try again";
      again.addEventListener("click", () => {
        links = null;
        for (const each of pictures) delete each.dataset.tried;
        note.remove();
        for (const each of pictures) if (each.complete && each.naturalWidth === 0) renew(each);
      });
      note.append(paragraph, again);
      picture.closest(".frame").append(note);
    }

    // The note of a picture has the picture's class: `crop` or `whole`.
    function removeNote(picture) {
      picture.closest(".frame").querySelector(`.broken.${picture.className}`)?.remove();
    }

    async function renew(picture) {
      if (picture.dataset.tried) {
        return showBroken(picture, "This picture can't be shown: its link has expired, or it was erased.");
      }
      picture.dataset.tried = "yes";
      const path = `/desk/cases/${article.dataset.case}/images`;
      links ??= desk.send(path, { method: "GET" }).then((response) => response.json());
      try {
        const link = (await links)[picture.dataset.role];
        if (link) picture.src = link;
        else showBroken(picture, "This picture can't be shown: it was erased.");
      } catch (failure) {
        showBroken(picture, `This picture can't be shown. ${failure.message}`);
      }
    }

    for (const picture of pictures) {
      picture.addEventListener("error", () => renew(picture));
      // The new link expires, too. Then it may be renewed again.
      picture.addEventListener("load", () => {
        links = null;
        delete picture.dataset.tried;
        removeNote(picture);
      });
      if (picture.complete && picture.naturalWidth === 0) renew(picture);
    }
  }

  let lastScroll = -1000;
  addEventListener("scroll", (event) => { lastScroll = event.timeStamp; }, { passive: true });

  return { mount };
})();
