"use strict";

/** Where the picture lies in the canvas and how large it is, and the hands that move it: wheel, mouse and touch. */
function pictureView(canvas, stage, picture, output) {
  const view = { x: 0, y: 0, scale: 1 };
  const SMALLEST = 0.04, LARGEST = 4, MARGIN = 24, CLICK = 5; // CLICK: how far a hand may shake
  const size = { width: picture.viewBox.baseVal.width || 1, height: picture.viewBox.baseVal.height || 1 };
  let settled = 0;
  let fitted = true; // until somebody moves it, the whole picture is shown

  function show({ glide = false } = {}) {
    stage.classList.toggle("gliding", glide);
    stage.classList.toggle("moving", !glide);
    stage.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    output.textContent = `${Math.round(view.scale * 100)} %`;
    clearTimeout(settled);
    settled = setTimeout(() => stage.classList.remove("moving"), 160); // then the browser draws it sharp again
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2, options = {}) {
    const scale = Math.min(LARGEST, Math.max(SMALLEST, view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    fitted = false;
    show(options);
  }

  function move(x, y) {
    view.x += x;
    view.y += y;
    fitted = false;
    show();
  }

  function fit(options) {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const whole = Math.min((width - 2 * MARGIN) / size.width, (height - 2 * MARGIN) / size.height, 1.25);
    view.scale = Math.max(whole, SMALLEST);
    view.x = (width - size.width * view.scale) / 2;
    view.y = (height - size.height * view.scale) / 2;
    fitted = true;
    show(options);
  }

  /** Bring a card into view; when ``readable``, also large enough to read. */
  function reveal(element, readable) {
    const bounds = element.getBBox(), place = element.transform.baseVal.consolidate()?.matrix ?? { e: 0, f: 0 };
    const frame = picture.viewBox.baseVal, [wide, high] = [canvas.clientWidth, canvas.clientHeight];
    const [left, top] = [bounds.x + place.e - frame.x, bounds.y + place.f - frame.y];
    const [x, y, width, height] = [view.x + left * view.scale, view.y + top * view.scale, bounds.width * view.scale, bounds.height * view.scale];
    const inside = x >= 0 && y >= 0 && x + width <= wide && y + height <= high;
    if (inside && (!readable || view.scale >= 0.6)) return;
    const widest = (wide - 2 * MARGIN) / bounds.width;
    view.scale = readable ? Math.max(view.scale, Math.min(0.9, Math.max(widest, 0.5))) : view.scale;
    const room = high - bounds.height * view.scale;
    view.x = wide / 2 - (left + bounds.width / 2) * view.scale;
    view.y = Math.max(room / 2, MARGIN) - top * view.scale;
    fitted = false;
    show({ glide: true });
  }

  new ResizeObserver(() => { if (fitted) fit(); }).observe(canvas);

  // ---- hands: wheel, mouse, touch

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const frame = canvas.getBoundingClientRect();
    const turned = event.deltaY * [1, 16, 400][event.deltaMode]; // in pixels, lines or pages
    const factor = Math.exp(-Math.max(-240, Math.min(240, turned)) * (event.ctrlKey ? 0.01 : 0.0016));
    zoom(factor, event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });

  const pointers = new Map();
  let travelled = 0;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("#zoom")) return;
    if (!pointers.size) travelled = 0;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!event.buttons) pointers.delete(event.pointerId); // let go outside of the window
    if (!before || !event.buttons) return;
    const now = { x: event.clientX, y: event.clientY };
    travelled += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (travelled < CLICK) return;
    if (!canvas.classList.contains("dragging")) canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("dragging");
    move((now.x - before.x) / pointers.size, (now.y - before.y) / pointers.size);
    pointers.set(event.pointerId, now);
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return;
    const frame = canvas.getBoundingClientRect();
    const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
    zoom(apart(now) / apart(before), (now.x + other.x) / 2 - frame.left, (now.y + other.y) / 2 - frame.top);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) canvas.classList.remove("dragging");
    });
  }

  const isWhole = () => fitted;
  const wasDragged = () => travelled >= CLICK;
  return { zoom, move, fit, reveal, isWhole, wasDragged };
}
