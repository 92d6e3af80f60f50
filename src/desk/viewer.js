// The pictures of a case: side by side, wipe or blink; faces or whole; zoom and moving, the same for both sides.
"use strict";

const viewer = (() => {
  const most = 8;

  // Makes the pictures of one case work; called once for each article. Gives what the keys need.
  function mount(article) {
    const box = article.querySelector(".viewer");
    const stage = box.querySelector("[data-stage]");
    const both = stage.querySelectorAll("img.whole").length === 2;
    const at = { zoom: 1, x: 0, y: 0 };
    let blinking = 0;

    for (const picture of box.querySelectorAll("[data-level]")) picture.style.setProperty("--level", `${Number(picture.dataset.level) || 0}deg`);
    stage.tabIndex = 0;
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", "Pictures. Plus and minus zoom, arrow keys move.");

    function place() {
      // A picture never leaves its frame altogether.
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

    // Zooms about a point of the frame, in percent from its middle.
    function zoom(factor, x = 0, y = 0) {
      const to = Math.max(1, Math.min(most, at.zoom * factor));
      const ratio = to / at.zoom;
      at.x = x - (x - at.x) * ratio;
      at.y = y - (y - at.y) * ratio;
      at.zoom = Math.abs(to - 1) < 0.02 ? 1 : to;
      place();
    }

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
        if (!desk.calm.matches) blinking = setInterval(swap, 700);
      }
      for (const button of box.querySelectorAll("[data-mode-choice]")) button.setAttribute("aria-pressed", String(button.dataset.modeChoice === mode));
    }

    function swap() {
      if (!box.isConnected) return stopBlinking();
      show(box.dataset.blink === "reference" ? "probe" : "reference");
    }

    // Pressed again it stops; where motion is not wanted it shows the other side instead.
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
      for (const button of box.querySelectorAll("[data-view-choice]")) button.setAttribute("aria-pressed", String(button.dataset.viewChoice === view));
      reset();
    }

    box.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const { modeChoice, viewChoice, zoom: way } = button.dataset;
      if (modeChoice === "blink") blink();
      else if (modeChoice) setMode(modeChoice);
      if (viewChoice) setView(viewChoice);
      if (way === "in") zoom(1.25);
      if (way === "out") zoom(0.8);
      if (way === "reset") reset();
    });
    box.querySelector("[data-wipe]").addEventListener("input", (event) => setWipe(Number(event.target.value)));

    // Where a pointer is in the frame below it, in percent from the middle.
    function pointIn(event) {
      const frame = event.target.closest(".frame") ?? stage.querySelector(".frame");
      const { left, top, width, height } = frame.getBoundingClientRect();
      return { width, height, x: ((event.clientX - left) / width - 0.5) * 100, y: ((event.clientY - top) / height - 0.5) * 100 };
    }

    // The wheel zooms, but not in the middle of scrolling the page, and out only as far as there is something to zoom out of.
    stage.addEventListener("wheel", (event) => {
      const scrolling = event.timeStamp - lastScroll < 400;
      if (!event.ctrlKey && (scrolling || (event.deltaY > 0 && at.zoom === 1))) return;
      event.preventDefault();
      const { x, y } = pointIn(event);
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
      const apart = pointers.size === 2 ? spread() : 0;
      pointers.set(event.pointerId, event);
      moved += Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY);
      if (moved < 4) return;
      stage.classList.add("dragging");
      const frame = stage.querySelector(".frame").getBoundingClientRect();
      if (apart) return zoom(spread() / apart);
      if (box.dataset.mode === "wipe" && at.zoom === 1) return setWipe(((event.clientX - frame.left) / frame.width) * 100);
      at.x += ((event.clientX - before.clientX) / frame.width) * 100;
      at.y += ((event.clientY - before.clientY) / frame.height) * 100;
      place();
    });
    const release = (event) => {
      const was = pointers.delete(event.pointerId);
      stage.classList.remove("dragging");
      // A click alone moves too: it brings that place into the middle.
      if (was && event.type === "pointerup" && moved < 4 && at.zoom > 1) {
        const under = document.elementFromPoint(event.clientX, event.clientY)?.closest(".frame") ?? stage.querySelector(".frame");
        const { left, top, width, height } = under.getBoundingClientRect();
        at.x -= ((event.clientX - left) / width - 0.5) * 100;
        at.y -= ((event.clientY - top) / height - 0.5) * 100;
        place();
      }
    };
    stage.addEventListener("pointerup", release);
    stage.addEventListener("pointercancel", release);
    stage.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [6, 0], ArrowRight: [-6, 0], ArrowUp: [0, 6], ArrowDown: [0, -6] };
      const step = steps[event.key];
      if (!step || event.target !== stage || at.zoom === 1) return;
      event.preventDefault();
      at.x += step[0];
      at.y += step[1];
      place();
    });

    watchPictures(article);
    return { zoom, reset, wipe, blink, stop: () => { if (box.dataset.mode === "blink") setMode("side"); } };
  }

  // A picture that does not load gets a fresh link once; then the frame says so.
  function watchPictures(article) {
    let asked = null;
    const pictures = [...article.querySelectorAll("img[data-role]")];

    function broken(picture, words) {
      mend(picture);
      const note = document.createElement("div");
      note.className = `broken ${picture.className}`;
      const says = document.createElement("p");
      says.textContent = words;
      const again = document.createElement("button");
      again.type = "button";
      again.textContent = "Try again";
      again.addEventListener("click", () => {
        asked = null;
        for (const each of pictures) delete each.dataset.tried;
        note.remove();
        for (const each of pictures) if (each.complete && each.naturalWidth === 0) renew(each);
      });
      note.append(says, again);
      picture.closest(".frame").append(note);
    }

    // The note on a picture has the class of that picture: `crop` or `whole`.
    function mend(picture) {
      picture.closest(".frame").querySelector(`.broken.${picture.className}`)?.remove();
    }

    async function renew(picture) {
      if (picture.dataset.tried) return broken(picture, "This picture can't be shown: its link expired, or it was erased.");
      picture.dataset.tried = "yes";
      asked ??= desk.send(`/desk/cases/${article.dataset.case}/images`, { method: "GET" }).then((response) => response.json());
      try {
        const link = (await asked)[picture.dataset.role];
        if (link) picture.src = link;
        else broken(picture, "This picture can't be shown: it was erased.");
      } catch (failure) {
        broken(picture, `This picture can't be shown. ${failure.message}`);
      }
    }

    for (const picture of pictures) {
      picture.addEventListener("error", () => renew(picture));
      // Links die again: what was shown may be asked for anew.
      picture.addEventListener("load", () => {
        asked = null;
        delete picture.dataset.tried;
        mend(picture);
      });
      if (picture.complete && picture.naturalWidth === 0) renew(picture);
    }
  }

  let lastScroll = -1000;
  addEventListener("scroll", (event) => { lastScroll = event.timeStamp; }, { passive: true });

  return { mount };
})();
