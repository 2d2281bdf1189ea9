/** The images in a grid that has only the visible rows in the page, and their selection. */

import { correct, get, nameOf, onState, say } from "./api.js";
import { byId, classOfKey, debounced, fillClasses, make } from "./parts.js";
import { count, percent, text } from "./texts.js";

const CELL = 64;
const PAGE = 200;
const MOST_SELECTED = 5000; // as many as one correction may be of
let total = 0;
let pages = new Map();
let coming = new Map(); // page: when it is there
let asked = 0; // counts the lists asked for: an answer to an older one is dropped
const selection = new Map(); // id: position
let focus = 0;
let anchor = 0;
let drag = null;

/** Begin to show the grid. */
export function startGrid() {
  const grid = byId("grid");
  grid.addEventListener("scroll", draw);
  grid.addEventListener("pointerdown", beginDrag);
  grid.addEventListener("keydown", onKey);
  addEventListener("resize", draw);
  const again = debounced(reload);
  for (const control of byId("filters").elements) control.addEventListener("input", again);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("move").addEventListener("click", () => moveTo(Number(byId("move-class").value)));
  byId("new-class").addEventListener("click", moveToNew);
  byId("reject").addEventListener("click", () => act("reject"));
  byId("confirm").addEventListener("click", () => act("confirm"));
  byId("clear").addEventListener("click", clear);
  onState(() => {
    showMenus();
    if (!byId("view-images").hidden) refill();
  });
}

/** Fill the menus of classes. */
export function showMenus() {
  const first = [["all", text("filter-all")], ["rejected", text("filter-rejected")]];
  fillClasses(byId("filter-class"), { first });
  fillClasses(byId("move-class"));
}

/** Show the images of a class. */
export function showClass(id) {
  byId("filter-class").value = String(id);
  reload();
}

function query(start) {
  return new URLSearchParams({
    class: byId("filter-class").value || "all",
    order: byId("filter-order").value,
    least: byId("filter-least").value || 0,
    most: byId("filter-most").value || 1,
    outlier: byId("filter-outlier").value || 0,
    text: byId("search").value,
    start,
    count: PAGE,
  });
}

/** Show another list, from its start and with nothing selected. */
export async function reload() {
  selection.clear();
  focus = anchor = 0;
  byId("grid").scrollTop = 0;
  await refill();
}

/** Ask for the list again, where it is: a correction may have changed it. */
async function refill() {
  pages = new Map();
  coming = new Map();
  asked += 1;
  await load(Math.floor(firstRow() * columns() / PAGE));
  draw();
}

function load(page) {
  if (!coming.has(page)) coming.set(page, fetchPage(page));
  return coming.get(page);
}

async function fetchPage(page) {
  const list = asked;
  const found = await get(`/api/images?${query(page * PAGE)}`);
  if (list !== asked) return;
  if (found === null) {
    coming.delete(page);
    return;
  }
  pages.set(page, found.images);
  total = found.total;
  focus = Math.max(0, Math.min(focus, total - 1));
  draw();
}

const columns = () => Math.max(1, Math.floor(byId("grid").clientWidth / CELL));
const firstRow = () => Math.floor(byId("grid").scrollTop / CELL);
const imageAt = (place) => pages.get(Math.floor(place / PAGE))?.[place % PAGE];

/** Draw the rows that are visible, and one on each side. */
export function draw() {
  const grid = byId("grid");
  const wide = columns();
  const rows = Math.ceil(total / wide);
  byId("sheet").style.height = `${rows * CELL}px`;
  const from = Math.max(0, firstRow() - 1) * wide;
  const to = Math.min(total, (firstRow() + Math.ceil(grid.clientHeight / CELL) + 1) * wide);
  const cells = [];
  for (let place = from; place < to; place += 1) {
    load(Math.floor(place / PAGE));
    const image = imageAt(place);
    if (image) cells.push(cell(image, place, wide));
  }
  byId("sheet").replaceChildren(...cells);
  const focused = imageAt(focus);
  if (focused) grid.setAttribute("aria-activedescendant", `cell-${focused.id}`);
  else grid.removeAttribute("aria-activedescendant");
  showFigures();
}

function showFigures() {
  byId("total").textContent = text("total", { n: count(total) });
  byId("selected").textContent = text("selected", { n: count(selection.size) });
  for (const id of ["move", "new-class", "reject", "confirm", "clear"]) {
    byId(id).disabled = selection.size === 0;
  }
}

function cell(image, place, wide) {
  const values = { name: image.name, class: nameOf(image.class), p: percent(image.p) };
  const label = text(image.corrected ? "cell-corrected" : "cell", values);
  const element = make(
    "div",
    {
      id: `cell-${image.id}`,
      className: `cell${image.corrected ? " corrected" : ""}${place === focus ? " focus" : ""}`,
      title: label,
      set: {
        role: "option",
        "data-image": image.id,
        "data-place": place,
        "aria-selected": selection.has(image.id),
        "aria-label": label,
        "aria-posinset": place + 1,
        "aria-setsize": total,
      },
    },
    [make("img", { src: `/image/${image.id}`, alt: "" })],
  );
  element.style.left = `${(place % wide) * CELL}px`;
  element.style.top = `${Math.floor(place / wide) * CELL}px`;
  return element;
}

// ---- selecting ----------------------------------------------------------------------------

function toggle(place) {
  const image = imageAt(place);
  if (!image) return;
  if (selection.has(image.id)) selection.delete(image.id);
  else selection.set(image.id, place);
}

/** Select what lies between two places, also where it was not looked at yet. */
async function select(from, to) {
  if (Math.abs(to - from) >= MOST_SELECTED) {
    to = from + Math.sign(to - from) * (MOST_SELECTED - 1);
    say(text("most-selected", { n: count(MOST_SELECTED) }));
  }
  const [first, last] = [Math.min(from, to), Math.max(from, to)];
  const list = asked;
  for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) {
    if (!pages.has(page)) await load(page); // one after the other: the server has more to do
  }
  if (list !== asked) return;
  for (let place = first; place <= last; place += 1) {
    const image = imageAt(place);
    if (image) selection.set(image.id, place);
  }
  draw();
}

function clear() {
  selection.clear();
  draw();
}

function clicked(place, event) {
  if (event.shiftKey) {
    select(anchor, place);
  } else {
    toggle(place);
    anchor = place;
  }
  focus = place;
  draw();
}

function point(event) {
  const grid = byId("grid");
  const box = grid.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top + grid.scrollTop];
}

function beginDrag(event) {
  if (event.button !== 0) return;
  const grid = byId("grid");
  if (event.offsetX > grid.clientWidth && event.target === grid) return; // the scroll bar
  drag = { start: point(event), moved: false };
  grid.addEventListener("pointermove", goOn);
  addEventListener("pointerup", endDrag, { once: true });
  addEventListener("pointercancel", endDrag, { once: true });
}

function goOn(event) {
  const [x, y] = point(event);
  const [x0, y0] = drag.start;
  if (!drag.moved && Math.hypot(x - x0, y - y0) < 8) return;
  if (event.pointerType === "touch") return; // a finger scrolls
  drag.moved = true;
  const lasso = byId("lasso");
  lasso.hidden = false;
  lasso.style.left = `${Math.min(x, x0)}px`;
  lasso.style.top = `${Math.min(y, y0)}px`;
  lasso.style.width = `${Math.abs(x - x0)}px`;
  lasso.style.height = `${Math.abs(y - y0)}px`;
}

function endDrag(event) {
  const grid = byId("grid");
  grid.removeEventListener("pointermove", goOn);
  byId("lasso").hidden = true;
  const done = drag;
  drag = null;
  if (!done || event.type === "pointercancel") return;
  if (done.moved) {
    selectInside(done.start, point(event), event.ctrlKey || event.metaKey || event.shiftKey);
    return;
  }
  const found = event.target.closest?.(".cell");
  if (found) clicked(Number(found.dataset.place), event);
}

function selectInside([x0, y0], [x1, y1], add) {
  if (!add) selection.clear();
  const wide = columns();
  const column = (x) => Math.max(0, Math.min(wide - 1, Math.floor(x / CELL)));
  const row = (y) => Math.max(0, Math.floor(y / CELL));
  for (let r = row(Math.min(y0, y1)); r <= row(Math.max(y0, y1)); r += 1) {
    select(r * wide + column(Math.min(x0, x1)), r * wide + column(Math.max(x0, x1)));
  }
  draw();
}

// ---- keys ---------------------------------------------------------------------------------

function onKey(event) {
  const wide = columns();
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide };
  const pageful = wide * Math.max(1, Math.floor(byId("grid").clientHeight / CELL) - 1);
  Object.assign(steps, { PageDown: pageful, PageUp: -pageful, Home: -total, End: total });
  if (event.key in steps) {
    event.preventDefault();
    goTo(focus + steps[event.key], event.shiftKey);
  } else if (event.key === " ") {
    event.preventDefault();
    toggle(focus);
    anchor = focus;
    draw();
  } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    select(0, total - 1);
  } else if (event.key === "Escape") {
    clear();
  }
}

function goTo(place, extend) {
  const before = focus;
  focus = Math.max(0, Math.min(total - 1, place));
  if (extend) select(before, focus);
  else anchor = focus;
  const grid = byId("grid");
  const top = Math.floor(focus / columns()) * CELL;
  if (top < grid.scrollTop) grid.scrollTop = top;
  const bottom = top + CELL - grid.clientHeight;
  if (bottom > grid.scrollTop) grid.scrollTop = bottom;
  draw();
}

/** Do what a key stands for, if there is a selection; return whether it stands for something. */
export function gridKey(key) {
  if (!selection.size) return false;
  const one = classOfKey(key);
  if (one) moveTo(one.id);
  else if (key === "x") act("reject");
  else if (key === "c") act("confirm");
  else if (key === "n") byId("new-name").focus();
  else return false;
  return true;
}

// ---- correcting ---------------------------------------------------------------------------

async function act(kind, more = {}) {
  const images = [...selection.keys()];
  if (!images.length) return;
  if (await correct({ kind, images, ...more })) {
    for (const id of images) selection.delete(id);
    draw();
  }
}

const moveTo = (id) => act("move", { class: id });

function moveToNew() {
  const name = byId("new-name").value.trim() || text("new-class-default");
  byId("new-name").value = "";
  act("move", { new_class: name });
}
