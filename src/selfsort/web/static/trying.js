/** Draw or drop an image; change the style of a class; go from one class to another. */

import { get, nameOf, onState, post } from "./api.js";
import { byId, debounced, fillClasses, make, picture } from "./parts.js";
import { percent, text } from "./texts.js";

const BRUSH = 24;
let drawing = null;
let style = null;

/** Begin with an empty canvas. */
export function startTrying() {
  const canvas = byId("canvas");
  clearCanvas();
  canvas.addEventListener("pointerdown", beginStroke);
  canvas.addEventListener("pointermove", stroke);
  addEventListener("pointerup", endStroke);
  byId("clear-canvas").addEventListener("click", clearCanvas);
  byId("file").addEventListener("change", (event) => tryFile(event.target.files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) {
      location.hash = "try";
      tryFile(event.dataTransfer.files[0]);
    }
  });
  byId("style-class").addEventListener("input", decodeStyle);
  for (const id of ["morph-from", "morph-to", "morph-share"]) byId(id).addEventListener("input", morph);
  onState(() => {
    style = null; // another network may be in use
    if (!byId("view-try").hidden) showTrying();
  });
}

/** Fill the menus and sliders. */
export async function showTrying() {
  const only = (one) => one.prototype !== null;
  for (const id of ["style-class", "morph-from", "morph-to"]) fillClasses(byId(id), { only });
  if (byId("morph-to").selectedIndex === byId("morph-from").selectedIndex) {
    byId("morph-to").selectedIndex = Math.min(1, byId("morph-to").options.length - 1);
  }
  if (style === null) {
    style = (await get("/api/style"))?.dims ?? [];
    byId("style-part").hidden = style.length === 0;
    byId("sliders").replaceChildren(...style.map(slider));
  }
  decodeStyle();
  morph();
}

function slider(range, i) {
  const input = make("input", {
    type: "range",
    min: range.low,
    max: range.high,
    step: (range.high - range.low) / 40 || 1,
    value: range.mean,
    className: "style",
  });
  input.addEventListener("input", decodeStyle);
  return make("label", {}, [text("style", { n: i + 1 }), input]);
}

const decodeStyle = debounced(async () => {
  const chosen = byId("style-class").value;
  if (chosen === "" || !style?.length) return;
  const values = [...document.querySelectorAll("input.style")].map((input) => Number(input.value));
  const found = await post("/api/decode", { class: Number(chosen), style: values });
  if (found) byId("decoded").src = found.image;
}, 60);

const morph = debounced(async () => {
  const [from, to] = [byId("morph-from").value, byId("morph-to").value];
  if (from === "" || to === "") return;
  const share = Number(byId("morph-share").value);
  const found = await post("/api/decode", { class: Number(from), to: Number(to), share });
  if (found) byId("morphed").src = found.image;
}, 60);

// ---- drawing ------------------------------------------------------------------------------

function clearCanvas() {
  const canvas = byId("canvas");
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  byId("result").replaceChildren();
}

function place(event) {
  const canvas = byId("canvas");
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function beginStroke(event) {
  event.preventDefault();
  drawing = place(event);
  stroke(event);
}

function stroke(event) {
  if (!drawing) return;
  const context = byId("canvas").getContext("2d");
  const next = place(event);
  Object.assign(context, { strokeStyle: "#fff", lineWidth: BRUSH, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  context.moveTo(...drawing);
  context.lineTo(...next);
  context.stroke();
  drawing = next;
}

function endStroke() {
  if (!drawing) return;
  drawing = null;
  classify(byId("canvas").toDataURL("image/png"), true);
}

function tryFile(file) {
  if (!file) return;
  const reader = new FileReader();
  reader.addEventListener("load", () => classify(reader.result, false));
  reader.readAsDataURL(file);
}

async function classify(image, drawn) {
  const found = await post("/api/classify", { image, drawn });
  if (found) show(found);
}

function show(found) {
  const title = make("h3", { textContent: text("result", { name: nameOf(found.class) }) });
  title.dataset.result = found.class;
  const unusual = text("result-outlier", { p: percent(found.outlier, 0) });
  const bars = found.probabilities.slice(0, 10).map(bar);
  const figures = make("div", { className: "figures" }, [
    figure(found.input, "input"),
    figure(found.reconstruction, "reconstruction"),
  ]);
  const nearest = found.nearest.map((id) => picture(id, ""));
  byId("result").replaceChildren(
    title,
    make("p", { className: "soft", textContent: unusual }),
    ...bars,
    figures,
    make("p", { className: "soft", textContent: text("nearest") }),
    make("div", { className: "row" }, nearest),
  );
  useStyle(found);
}

function bar({ class: id, p }) {
  const name = nameOf(id);
  const values = { name, p: percent(p) };
  return make("div", { className: "bar" }, [
    make("span", { textContent: name }),
    make("meter", { min: 0, max: 1, value: p, set: { "aria-label": text("bar", values) } }),
    make("span", { textContent: `${percent(p)} %` }),
  ]);
}

function figure(src, name) {
  const image = make("img", { src, alt: text(name), className: "pixels" });
  return make("figure", {}, [image, make("figcaption", { textContent: text(name) })]);
}

/** Set class and sliders to what the network says of an image. */
function useStyle(found) {
  const select = byId("style-class");
  if ([...select.options].some((one) => Number(one.value) === found.class)) {
    select.value = String(found.class);
  }
  document.querySelectorAll("input.style").forEach((input, i) => {
    input.value = found.style[i];
  });
  decodeStyle();
}
