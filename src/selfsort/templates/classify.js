/** Classify drawings and pictures with the model in this page; nothing leaves it. */
"use strict";

const BRUSH = 24;
const FINER = 4; // a drawing is given so many times finer than the images of the model
const MOST_SIDE = 1024; // of a picture, in pixels: larger ones are reduced
const MOST_BARS = 10;
const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const [channels, height, width] = facts.shape;
const canvas = byId("canvas");
let session = null;
let place = null;
let asked = 0;

// ---- the model ----------------------------------------------------------------------------

/** Return the bytes that an element holds, packed, and forget it. */
async function unpacked(id) {
  const text = byId(id).textContent.trim();
  byId(id).remove();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function address(id) {
  return URL.createObjectURL(new Blob([await unpacked(id)], { type: "text/javascript" }));
}

async function load() {
  const script = document.createElement("script");
  script.src = await address("runtime");
  await new Promise((done, failed) => {
    Object.assign(script, { onload: done, onerror: failed });
    document.head.append(script);
  });
  ort.env.wasm.numThreads = 1; // more are possible only for what comes from a server
  ort.env.wasm.wasmPaths = { mjs: await address("glue") };
  ort.env.wasm.wasmBinary = await unpacked("wasm");
  session = await ort.InferenceSession.create(await unpacked("model"));
}

/** Show what the model says of pixels: RGBA, of any size. */
async function classify(image) {
  const number = ++asked;
  const n = image.width * image.height;
  const pixels = new Uint8Array(n * channels);
  for (let i = 0; i < n; i += 1) {
    const [red, green, blue] = image.data.subarray(4 * i, 4 * i + 3);
    if (channels === 3) pixels.set([red, green, blue], 3 * i);
    else pixels[i] = Math.round((red + green + blue) / 3);
  }
  const sides = [1, image.height, image.width, ...(facts.layout === "nhwc" ? [channels] : [])];
  const found = await session.run({ input: new ort.Tensor("uint8", pixels, sides) });
  if (number === asked) show(image, found); // else something newer was drawn in the meantime
}

// ---- what it says -------------------------------------------------------------------------

function show(image, { probability, label, reconstruction }) {
  const best = Number(label.data[0]);
  const title = byId("class");
  title.textContent = facts.classes[best];
  title.dataset.result = best;
  const ranked = [...probability.data.keys()].sort((a, b) => probability.data[b] - probability.data[a]);
  byId("bars").replaceChildren(...ranked.slice(0, MOST_BARS).map((k) => bar(k, probability.data[k])));
  put(byId("input"), image);
  put(byId("reconstruction"), asImage(reconstruction.data));
  byId("result").hidden = false;
}

function bar(k, share) {
  const row = document.createElement("div");
  const name = document.createElement("span");
  const meter = document.createElement("meter");
  const number = document.createElement("span");
  row.className = "bar";
  name.textContent = facts.classes[k];
  meter.value = share;
  number.textContent = `${(100 * share).toFixed(2)} %`;
  meter.setAttribute("aria-label", `${facts.classes[k]}: ${number.textContent}`);
  row.append(name, meter, number);
  return row;
}

function put(target, image) {
  target.width = image.width;
  target.height = image.height;
  target.getContext("2d").putImageData(image, 0, 0);
}

/** Return an image of the model's size from its values, 0 to 255. */
function asImage(values) {
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = values[i * channels + (c % channels)];
    image.data[4 * i + 3] = 255;
  }
  return image;
}

// ---- drawing ------------------------------------------------------------------------------

function blank() {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return context;
}

function clear() {
  blank();
  asked += 1;
  byId("result").hidden = true;
}

function placeOf(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function stroke(event) {
  if (!place) return;
  const context = canvas.getContext("2d");
  const next = placeOf(event);
  Object.assign(context, { strokeStyle: "#fff", lineWidth: BRUSH, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  context.moveTo(...place);
  context.lineTo(...next);
  context.stroke();
  place = next;
}

/** Return left, top, right and bottom of what is drawn, or null. */
function drawnBox() {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let [left, top, right, bottom] = [canvas.width, canvas.height, 0, 0];
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      if (data[4 * (y * canvas.width + x)] <= facts.ink) continue;
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    }
  }
  return right > left ? [left, top, right, bottom] : null;
}

/** Where a part begins so that its middle is where things are, and all of it inside. */
function begin(middle, part, whole) {
  return Math.min(Math.max(middle - part / 2, 0), Math.max(whole - part, 0));
}

/** Return the drawing in the size, place and colours that things have in the model's images. */
function asDrawn([left, top, right, bottom]) {
  const scale = (FINER * facts.size) / Math.max(right - left, bottom - top);
  const [w, h] = [(right - left) * scale, (bottom - top) * scale];
  const x = begin(FINER * facts.middle[1], w, FINER * width);
  const y = begin(FINER * facts.middle[0], h, FINER * height);
  const sheet = new OffscreenCanvas(FINER * width, FINER * height);
  const context = sheet.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, left, top, right - left, bottom - top, x, y, w, h);
  const image = context.getImageData(0, 0, sheet.width, sheet.height);
  for (let i = 0; i < image.data.length; i += 1) {
    const share = i % 4 === 3 ? 0 : image.data[i] / 255;
    if (i % 4 !== 3) image.data[i] = facts.background + (facts.foreground - facts.background) * share;
  }
  return image;
}

async function endStroke() {
  if (!place) return;
  place = null;
  const box = drawnBox();
  if (box && session) await classify(asDrawn(box));
}

async function choose(file) {
  if (!file || !session) return;
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    byId("status").textContent = "This is no picture that the browser can read.";
    return;
  }
  const scale = Math.min(1, MOST_SIDE / Math.max(picture.width, picture.height));
  const sides = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const sheet = new OffscreenCanvas(...sides);
  const context = sheet.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // as selfsort puts what is transparent on white
  context.fillRect(0, 0, ...sides);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, ...sides);
  byId("status").textContent = "";
  await classify(context.getImageData(0, 0, ...sides));
}

canvas.height = Math.round((canvas.width * height) / width);
blank();
canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  place = placeOf(event);
  stroke(event);
});
canvas.addEventListener("pointermove", stroke);
addEventListener("pointerup", endStroke);
byId("clear").addEventListener("click", clear);
byId("file").addEventListener("change", (event) => choose(event.target.files[0]));
load().then(
  () => {
    byId("status").textContent = "";
    document.body.dataset.ready = "";
  },
  (error) => {
    byId("status").textContent = `The model cannot run in this browser (${error?.message ?? error}).`;
  },
);
