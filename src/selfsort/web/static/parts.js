/** Small helpers to build elements; what comes from the server is only ever set as text. */

import { now } from "./api.js";
import { text } from "./texts.js";

/** Make an element with properties, attributes (in `set`) and children. */
export function make(tag, properties = {}, children = []) {
  const element = document.createElement(tag);
  const { set = {}, ...rest } = properties;
  Object.assign(element, rest);
  for (const [name, value] of Object.entries(set)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return the element with an id. */
export const byId = (id) => document.getElementById(id);

/** Return a picture of an image. */
export function picture(id, alt, className = "pixels") {
  return make("img", { src: `/image/${id}`, alt, className, loading: "lazy", decoding: "async" });
}

/** Return the picture of a class: its prototype, or an image of it where there is none. */
export function classPicture(one, className) {
  const revision = now.state.revision;
  if (one.prototype) {
    const alt = text("prototype", { name: one.name });
    return make("img", { src: `${one.prototype}?v=${revision}`, alt, className });
  }
  if (one.typical.length) {
    return picture(one.typical[0], text("no-prototype", { name: one.name }), className);
  }
  return make("span", { className });
}

/** Fill a menu with the classes, keeping what is chosen. */
export function fillClasses(select, { first = [], only = () => true } = {}) {
  const kept = select.value;
  const classes = now.state.classes.filter(only);
  select.replaceChildren(
    ...first.map(([value, label]) => make("option", { value, textContent: label })),
    ...classes.map((one) => make("option", { value: one.id, textContent: one.name })),
  );
  if ([...select.options].some((option) => option.value === kept)) select.value = kept;
}

/** Return the class that a digit key stands for: 1 to 9, then 0. */
export function classOfKey(key) {
  if (!/^[0-9]$/.test(key)) return undefined;
  return now.state.classes[(Number(key) + 9) % 10];
}

/** Return the digit key of a class by its place, or "". */
export const keyOfPlace = (place) => (place < 10 ? String((place + 1) % 10) : "");

/** Return whether somebody is typing. */
export function isTyping(event) {
  return Boolean(event.target.closest("input, select, textarea, dialog"));
}

/** Wait until nothing was asked for a while before doing it. */
export function debounced(action, pause = 200) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), pause);
  };
}
