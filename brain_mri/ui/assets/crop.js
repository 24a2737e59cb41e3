// Two corners on a picture: dragged, clicked one after the other, or set with the arrow keys and Enter. See crop.py.
(window.scanTools ??= {}).crop = (element, trigger, watch) => {
let first = null, down = null, at = { x: 0.5, y: 0.5 };
const board = () => element.querySelector("[data-crop]");
const say = (what) => { element.querySelector(".crop-says").textContent = board().dataset[what]; };
const place = (event) => {
  const box = board().getBoundingClientRect();
  const inside = (value) => Math.min(1, Math.max(0, value));
  return { x: inside((event.clientX - box.left) / box.width), y: inside((event.clientY - box.top) / box.height) };
};
const show = (one, other) => {
  const mark = element.querySelector(".crop-mark").style;
  const [left, top] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
  [mark.left, mark.top] = [`${100 * left}%`, `${100 * top}%`];
  [mark.width, mark.height] = [`${100 * (Math.max(one.x, other.x) - left)}%`, `${100 * (Math.max(one.y, other.y) - top)}%`];
};
const begin = (corner) => {
  first = corner;
  show(corner, corner);
  say("second");
};
const cut = (other) => {
  const one = first, { width, height, least } = board().dataset;
  first = null;
  show(one, other);
  if (Math.abs(one.x - other.x) * width < least || Math.abs(one.y - other.y) * height < least) say("small");
  else trigger({ box: [one.x, one.y, other.x, other.y] });
};
element.addEventListener("pointerdown", (event) => {
  if (!event.target.closest("[data-crop]") || event.button || !event.isPrimary) return;
  event.preventDefault(); // else the picture itself is dragged
  board().setPointerCapture(event.pointerId);
  board().focus({ preventScroll: true });
  down = { x: event.clientX, y: event.clientY, second: Boolean(first) };
  if (first) show(first, place(event));
  else begin(place(event));
});
element.addEventListener("pointermove", (event) => { if (first && event.isPrimary && event.target.closest("[data-crop]")) show(first, place(event)); });
element.addEventListener("pointerup", (event) => {
  if (!down || !first || !event.isPrimary) return;
  const far = Math.hypot(event.clientX - down.x, event.clientY - down.y) > 8; // dragged, not clicked
  if (far || down.second) cut(place(event));
  down = null;
});
element.addEventListener("pointercancel", () => { // two fingers move the page
  [first, down] = [null, null];
  show(at, at);
  say("first");
});
element.addEventListener("click", (event) => { if (event.target.closest("[data-whole]")) trigger({ whole: true }); });
element.addEventListener("keydown", (event) => {
  if (event.target !== board()) return;
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!way && !["Enter", " ", "Escape"].includes(event.key)) return;
  event.preventDefault();
  const far = event.shiftKey ? 0.005 : 0.025, inside = (value) => Math.min(1, Math.max(0, value));
  if (way) at = { x: inside(at.x + far * way[0]), y: inside(at.y + far * way[1]) };
  if (event.key === "Escape") { first = null; say("first"); }
  else if (!way && first) return cut(at);
  else if (!way) return begin({ ...at });
  show(first ?? at, at);
});
};
