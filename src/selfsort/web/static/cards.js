/** The classes as cards: name, merge, split, open. */

import { correct, now, onState } from "./api.js";
import { byId, classPicture, make, picture } from "./parts.js";
import { count, text } from "./texts.js";

const picked = new Set();
let openClass = () => {};

/** Begin to show the cards; `open` shows the images of a class. */
export function startCards(open) {
  openClass = open;
  onState(showCards);
  byId("merge").addEventListener("click", merge);
}

async function merge() {
  const classes = [...picked];
  if (await correct({ kind: "merge", classes })) {
    picked.clear();
    showCards(now.state);
  }
}

/** Show the cards anew, with what is typed and where the focus is left as it was. */
export function showCards(state) {
  const ids = new Set(state.classes.map((one) => one.id));
  for (const id of picked) if (!ids.has(id)) picked.delete(id);
  const focus = document.activeElement?.closest?.("[data-focus]")?.dataset.focus;
  byId("cards").replaceChildren(...state.classes.map(card));
  if (focus) document.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  byId("merge").disabled = picked.size < 2;
  byId("summary").textContent = text("summary", {
    images: count(state.run.n_images),
    classes: state.classes.length,
    corrected: count(state.n_corrected),
    rejected: count(state.n_rejected),
  });
}

function card(one) {
  const name = one.name;
  const figures = [
    text("card-size", { n: count(one.size) }),
    text("card-doubtful", { n: count(one.n_doubtful) }),
  ];
  if (one.n_corrected) figures.push(text("card-corrected", { n: count(one.n_corrected) }));
  const top = make("div", { className: "top" }, [
    classPicture(one, "pixels prototype"),
    make("div", {}, [nameField(one), make("p", { className: "soft", textContent: figures.join(" · ") })]),
  ]);
  const parts = [top];
  for (const kind of ["typical", "doubtful"]) {
    if (one[kind].length) parts.push(...strip(one, kind));
  }
  parts.push(buttons(one));
  return make("article", { set: { "data-class": one.id, "aria-label": name } }, parts);
}

function nameField(one) {
  const field = make("input", {
    className: "class-name",
    value: one.name,
    maxLength: 100,
    set: { "aria-label": text("card-name", { name: one.name }), "data-focus": `name-${one.id}` },
  });
  const save = () => {
    if (field.value.trim() && field.value !== one.name) {
      correct({ kind: "name", class: one.id, name: field.value });
    }
  };
  field.addEventListener("change", save);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") field.value = one.name;
  });
  return field;
}

function strip(one, kind) {
  const title = text(kind === "typical" ? "card-typical" : "card-doubt");
  const images = one[kind].map((id) => picture(id, ""));
  return [make("h3", { textContent: title }), make("div", { className: "row" }, images)];
}

function buttons(one) {
  const name = one.name;
  const pick = make("input", {
    type: "checkbox",
    className: "pick",
    checked: picked.has(one.id),
    set: { "aria-label": text("card-pick", { name }), "data-focus": `pick-${one.id}` },
  });
  pick.addEventListener("change", () => {
    if (pick.checked) picked.add(one.id);
    else picked.delete(one.id);
    byId("merge").disabled = picked.size < 2;
  });
  const open = make("button", {
    type: "button",
    className: "open",
    textContent: text("card-open"),
    set: { "aria-label": text("card-open-label", { name }), "data-focus": `open-${one.id}` },
  });
  open.addEventListener("click", () => openClass(one.id));
  const split = make("button", {
    type: "button",
    className: "split",
    disabled: one.size < 2,
    textContent: text("card-split"),
    set: { "aria-label": text("card-split-label", { name }), "data-focus": `split-${one.id}` },
  });
  split.addEventListener("click", () => correct({ kind: "split", class: one.id }));
  return make("div", { className: "buttons" }, [pick, open, split]);
}
