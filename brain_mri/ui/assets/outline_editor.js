// A brush and an eraser on the pixels of a scan; outline_editor.py makes what it works on and reads what it sends.
// The mask is an array, and the canvas only shows it: browsers that hide from fingerprinting alter what is read back
// from a canvas, and a corrected outline must be what was drawn, to the pixel.
(window.scanTools ??= {}).outline_editor = (element, trigger, watch) => {
const MOST = 60; // steps that can be undone
const PATIENCE = 5000; // ms in which a stroke should be answered; tests have more
const OWN = [86, 180, 233], MODELS = [255, 176, 0]; // sky blue and amber, as in the pictures of the server
const find = (what) => element.querySelector(what);
let of = null, width = 0, height = 0, mask, model, models, pixels, tool = 1, size = 1, times = 1, zoom = 1, seen = true;
let sent = 0; // what was told: a later one counts, whatever the net makes of their order; see sent_last in outline_editor.py
let held = null; // where in the window the picture stands while it is drawn on, see below
let steps = [], at = 0; // masks as runs: of pixels off, on, off, ... row by row
let last = null, cursor = null; // where the brush is down; where the keys have moved it

const unrolled = (runs) => {
  const found = new Uint8Array(width * height);
  let from = 0, on = 0;
  for (const length of runs.split(",").map(Number)) {
    if (on) found.fill(1, from, from + length);
    from += length;
    on = 1 - on;
  }
  return found;
};
const rolled = (found) => {
  const runs = [];
  for (let from = 0, on = 0; from < found.length; on = 1 - on) {
    const to = found.indexOf(1 - on, from);
    runs.push((to < 0 ? found.length : to) - from);
    from += runs.at(-1);
  }
  return runs.join(",");
};

// --- what is seen ---
const paint = (left = 0, top = 0, right = width, bottom = height) => {
  const line = Math.max(1, Math.round(Math.max(width, height) / 500)); // pixels that an outline is thick
  const [x0, y0] = [Math.max(0, left - line), Math.max(0, top - line)];
  const [x1, y1] = [Math.min(width, right + line), Math.min(height, bottom + line)];
  const edge = (of_, x, y, i) => of_[i] && (x < line || y < line || x >= width - line || y >= height - line ||
    !of_[i - line] || !of_[i + line] || !of_[i - line * width] || !of_[i + line * width]);
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const i = y * width + x;
      const [color, alpha] = !seen ? [OWN, 0] : edge(mask, x, y, i) ? [OWN, 255] : edge(model, x, y, i) ? [MODELS, 230] :
        [OWN, mask[i] ? 80 : 0];
      pixels.data.set([...color, alpha], 4 * i);
    }
  }
  find("canvas").getContext("2d").putImageData(pixels, 0, 0, x0, y0, x1 - x0, y1 - y0);
};
const ring = (place) => {
  const shown = find(".ring");
  shown.style.display = place ? "block" : "none";
  if (!place) return;
  shown.style.left = `${(100 * place.x) / width}%`;
  shown.style.top = `${(100 * place.y) / height}%`;
  shown.style.width = `${(100 * size) / width}%`;
  shown.style.height = `${(100 * size) / height}%`;
};
const tools = () => {
  for (const button of element.querySelectorAll("[data-do]")) {
    const does = button.dataset.do;
    if (button.hasAttribute("aria-pressed")) {
      button.setAttribute("aria-pressed", { brush: tool === 1, eraser: tool === 0, hide: !seen }[does]);
    }
    button.disabled = { undo: at === 0, redo: at === steps.length - 1, out: zoom === 1, in: zoom === 8 }[does] ?? false;
  }
  find("[data-size]").value = size;
  find("[data-says=size]").textContent = `${size} pixel${size === 1 ? "" : "s"}`;
  find(".sheet").style.setProperty("--zoom", zoom);
};

// --- what is drawn ---
// Every pixel whose centre is within half the brush's size of the way from a to b
const stroke = (a, b) => {
  const r = size / 2, [dx, dy] = [b.x - a.x, b.y - a.y], long = dx * dx + dy * dy;
  const [x0, y0] = [Math.max(0, Math.floor(Math.min(a.x, b.x) - r)), Math.max(0, Math.floor(Math.min(a.y, b.y) - r))];
  const [x1, y1] = [Math.min(width, Math.ceil(Math.max(a.x, b.x) + r)), Math.min(height, Math.ceil(Math.max(a.y, b.y) + r))];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      const [px, py] = [x + 0.5 - a.x, y + 0.5 - a.y];
      const k = long ? Math.min(1, Math.max(0, (px * dx + py * dy) / long)) : 0;
      if ((px - k * dx) ** 2 + (py - k * dy) ** 2 <= r * r) mask[y * width + x] = tool;
    }
  }
  const [x, y] = [Math.floor(b.x), Math.floor(b.y)]; // at least the pixel under the brush
  if (x >= 0 && y >= 0 && x < width && y < height) mask[y * width + x] = tool;
  paint(x0 - 1, y0 - 1, x1 + 1, y1 + 1);
};
const tell = () => {
  tools();
  held = top();
  sent += 1;
  element.dataset.sent = `${of} ${sent}`;
  find(".outline").dataset.now = steps[at]; // see drawn_now in outline_editor.py
  trigger({ of, runs: steps[at], step: sent, model: steps[at] === models });
};
element.answered = async () => { // see sent_last in outline_editor.py
  const waits = () => {
    const [on, step] = (element.dataset.sent ?? "").split(" ");
    const answers = [...document.querySelectorAll(`[data-answer^="${on} "]`)].map((one) => Number(one.dataset.answer.split(" ")[1]));
    return on === of && !answers.some((answer) => answer >= step);
  };
  for (const end = performance.now() + (window.strokePatience ?? PATIENCE); waits() && performance.now() < end;) {
    await new Promise((go) => setTimeout(go, 50));
  }
  return element.dataset.sent;
};
const done = () => {
  const runs = rolled(mask);
  if (runs === steps[at]) return;
  steps = [...steps.slice(Math.max(0, at + 2 - MOST), at + 1), runs];
  at = steps.length - 1;
  tell();
};
const back = () => { // to the last step, as when a second finger makes a stroke a pinch
  mask = unrolled(steps[at]);
  paint();
};
const step = (to) => {
  if (to < 0 || to >= steps.length) return;
  at = to;
  back();
  tell();
};
const resize = (to) => {
  size = Math.min(Number(find("[data-size]").max), Math.max(1, Math.round(to)));
  times = size / Number(find(".outline").dataset.brush);
  tools();
};
const enlarge = (to) => {
  const sheet = find(".sheet"), box = sheet.parentElement;
  const [x, y] = [(box.scrollLeft + box.clientWidth / 2) / sheet.clientWidth, (box.scrollTop + box.clientHeight / 2) / sheet.clientHeight];
  zoom = Math.min(8, Math.max(1, to));
  tools();
  box.scrollTo(x * sheet.clientWidth - box.clientWidth / 2, y * sheet.clientHeight - box.clientHeight / 2);
};
const replaced = (by) => {
  mask = by;
  paint();
  done();
};
const does = {
  brush: () => { tool = 1; tools(); },
  eraser: () => { tool = 0; tools(); },
  undo: () => step(at - 1),
  redo: () => step(at + 1),
  model: () => replaced(model.slice()),
  none: () => replaced(new Uint8Array(width * height)),
  hide: () => { seen = !seen; tools(); paint(); },
  in: () => enlarge(zoom * 2),
  out: () => enlarge(zoom / 2),
};

// --- hands: mouse, pen, finger, keys ---
const place = (event) => {
  const box = find("canvas").getBoundingClientRect();
  return { x: ((event.clientX - box.left) / box.width) * width, y: ((event.clientY - box.top) / box.height) * height };
};
let kept = 1; // the tool that the eraser of a pen, or the right button, stands in for
element.addEventListener("pointerdown", (event) => {
  if (event.target !== find("canvas")) return;
  if (!event.isPrimary) { // a second finger
    if (last) back();
    last = null;
    return;
  }
  if (event.button === 1) return;
  event.target.setPointerCapture(event.pointerId);
  kept = tool;
  if (event.button === 2 || event.button === 5) tool = 0;
  last = place(event);
  stroke(last, last);
  ring(last);
});
element.addEventListener("pointermove", (event) => {
  if (event.target !== find("canvas")) return;
  const to = place(event);
  cursor = null;
  if (last && event.isPrimary) {
    for (const one of event.getCoalescedEvents?.() ?? []) {
      stroke(last, place(one));
      last = place(one);
    }
    stroke(last, to);
    last = to;
  }
  ring(event.pointerType === "touch" && !last ? null : to);
});
element.addEventListener("pointerup", (event) => {
  if (event.pointerType === "touch" && of) ring(null);
  if (!last || !event.isPrimary) return;
  last = null;
  tool = kept;
  done();
});
element.addEventListener("pointercancel", () => {
  if (last) back();
  [last, tool] = [null, kept];
});
element.addEventListener("pointerout", (event) => { if (event.target === find("canvas") && !last) ring(null); });
element.addEventListener("contextmenu", (event) => { if (event.target === find("canvas")) event.preventDefault(); });
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button && of) does[button.dataset.do]();
});
element.addEventListener("input", (event) => { if (event.target.matches("[data-size]")) resize(Number(event.target.value)); });
element.addEventListener("keydown", (event) => {
  if (!of) return;
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    step(at + (key === "y" || event.shiftKey ? 1 : -1));
    return;
  }
  if (event.target !== find("canvas")) return;
  const way = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] }[key];
  const letter = { b: does.brush, e: does.eraser, h: does.hide, "+": does.in, "-": does.out, "[": () => resize(size - 1), "]": () => resize(size + 1) }[key];
  if (!way && !letter && key !== " ") return;
  event.preventDefault();
  if (letter) letter();
  cursor ??= { x: width / 2, y: height / 2 };
  if (way) {
    const far = event.altKey ? 1 : Math.max(1, size / 2);
    const to = { x: Math.min(width - 0.5, Math.max(0.5, cursor.x + far * way[0])), y: Math.min(height - 0.5, Math.max(0.5, cursor.y + far * way[1])) };
    if (event.shiftKey) stroke(cursor, to);
    cursor = to;
  }
  if (key === " ") stroke(cursor, cursor);
  if (key === " " || event.shiftKey) done();
  ring(cursor);
});

// --- the picture stays under the hand: the answer to a stroke makes what stands above it higher ---
const top = () => find("canvas")?.getBoundingClientRect().top ?? null;
const still = () => {
  if (held !== null && of) scrollBy({ top: top() - held, behavior: "instant" });
};
new ResizeObserver(still).observe(document.body);
addEventListener("scroll", () => { if (held !== null) held = top(); }, { passive: true, capture: true });
for (const kind of ["pointerdown", "keydown"]) {
  addEventListener(kind, (event) => {
    const elsewhere = !element.contains(event.target);
    if (last && (elsewhere || kind === "keydown")) done(); // a key that saves counts for the stroke under way, too
    if (elsewhere) held = null;
  }, true);
}

// --- a scan comes, or goes ---
const load = () => {
  const root = find(".outline");
  if (!root || of !== root.dataset.of) held = null;
  if (!root) {
    of = null;
    return;
  }
  const [on, told] = (element.dataset.sent ?? "").split(" "); // what was drawn while this was on its way is newer
  const newer = on === root.dataset.of && Number(told) > Number(root.dataset.step);
  const same = of === root.dataset.of && (newer || steps[at] === root.dataset.mask);
  if (same && steps[at] === models) steps[at] = root.dataset.model; // at another threshold
  models = root.dataset.model;
  [of, width, height] = [root.dataset.of, Number(root.dataset.width), Number(root.dataset.height)];
  if (!same) [steps, at, zoom, cursor, seen] = [[root.dataset.mask], 0, 1, null, true];
  const most = Number(find("[data-size]").max); // the brush that was chosen stays, whatever the pixels of the next scan
  if (!same || size > most) size = Math.min(most, Math.max(1, Math.round(times * Number(root.dataset.brush))));
  if (!same) last = null;
  if (!last) mask = unrolled(steps[at]); // else a stroke is under way
  model = unrolled(root.dataset.model);
  if (same) root.dataset.now = steps[at];
  pixels = new ImageData(width, height);
  tools();
  paint();
};
watch("value", load);
load();
};
