/** One image after the other, whose label helps most. */

import { correct, get, nameOf, now } from "./api.js";
import { byId, classOfKey, keyOfPlace, make, picture } from "./parts.js";
import { percent, text } from "./texts.js";

const AT_ONCE = 20;
let waiting = [];

/** Show the next suggested image, asking for more where there are none. */
export async function showSuggested() {
  if (!waiting.length) {
    const found = await get(`/api/suggest?n=${AT_ONCE}`);
    waiting = found?.images ?? [];
  }
  draw();
}

/** Forget what was suggested: something else may be better now. */
export function forgetSuggested() {
  waiting = [];
}

function draw() {
  const place = byId("one");
  const image = waiting[0];
  if (!image) {
    place.replaceChildren(make("p", { textContent: text("suggested-none") }));
    return;
  }
  const large = picture(image.id, text("image-of", { name: image.name }), "pixels large");
  large.dataset.suggested = image.id;
  const guess = text("suggested-guess", { name: nameOf(image.class), p: percent(image.p) });
  const about = make("div", {}, [large, make("p", { textContent: `${image.name} · ${guess}` })]);
  const choices = now.state.classes.map((one, i) => choice(one.name, keyOfPlace(i), () => label(one.id)));
  choices.push(choice(text("reject"), "x", reject), choice(text("skip-image"), "s", skip));
  place.replaceChildren(about, make("div", { className: "choices" }, choices));
}

function choice(name, key, action) {
  const shown = make("span", { textContent: `${name} ` });
  const button = make("button", { type: "button" }, [shown]);
  if (key) button.append(make("kbd", { textContent: key }));
  button.addEventListener("click", action);
  return button;
}

async function label(id) {
  await decided({ kind: "move", images: [waiting[0].id], class: id });
}

async function reject() {
  await decided({ kind: "reject", images: [waiting[0].id] });
}

async function decided(correction) {
  if (await correct(correction)) {
    waiting.shift();
    await showSuggested();
  }
}

async function skip() {
  waiting.shift();
  await showSuggested();
}

/** Do what a key stands for; return whether it stands for something. */
export function suggestedKey(key) {
  if (!waiting.length) return false;
  const one = classOfKey(key);
  if (one) label(one.id);
  else if (key === "x") reject();
  else if (key === "s") skip();
  else return false;
  return true;
}
