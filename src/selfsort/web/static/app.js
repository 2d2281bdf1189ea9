/** Puts the views together: which one is shown, keys, undo, language, export. */

import { correct, now, onState, post, refresh, say } from "./api.js";
import { showCards, startCards } from "./cards.js";
import { draw, gridKey, reload, showClass, showMenus, startGrid } from "./grid.js";
import { showLearning, startLearning } from "./learning.js";
import { byId, isTyping, make } from "./parts.js";
import { forgetSuggested, showSuggested, suggestedKey } from "./suggested.js";
import { count, otherLanguage, text, useLanguage } from "./texts.js";
import { showTrying, startTrying } from "./trying.js";

const VIEWS = ["classes", "images", "suggested", "try", "export"];
let view = "";

/** Show the view that the address names. */
function showView() {
  const wanted = location.hash.slice(1);
  const before = view;
  view = VIEWS.includes(wanted) ? wanted : "classes";
  for (const name of VIEWS) {
    byId(`view-${name}`).hidden = name !== view;
    const button = byId(`nav-${name}`);
    if (name === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  if (view === "images" && before !== view) reload();
  if (view === "suggested") {
    forgetSuggested();
    showSuggested();
  }
  if (view === "try") showTrying();
}

function openClass(id) {
  showMenus();
  location.hash = "images";
  byId("filter-class").value = String(id);
  if (view === "images") showClass(id);
}

function showTools(state) {
  for (const [id, kind] of [["undo", state.can_undo], ["redo", state.can_redo]]) {
    byId(id).disabled = kind === null;
    byId(id).textContent = kind ? text(`${id}-what`, { what: text(`kind-${kind}`) }) : text(id);
  }
  byId("title").textContent = text("title", { run: state.run.name });
  document.title = text("title", { run: state.run.name });
  byId("export-where").textContent = text("export-where", { folder: state.export_folder });
}

function showKeys() {
  const rows = text("keys").flatMap(([keys, meaning]) => [
    make("dt", { textContent: keys }),
    make("dd", { textContent: meaning }),
  ]);
  byId("key-list").replaceChildren(...rows);
  byId("keys").showModal();
}

/** Write every text anew, in the language that is now used. */
function redraw() {
  showTools(now.state);
  showMenus();
  showCards(now.state);
  showLearning(now.state);
  draw();
  showView();
}

function onKey(event) {
  const command = event.ctrlKey || event.metaKey;
  if (command && event.key.toLowerCase() === "z" && !isTyping(event)) {
    event.preventDefault();
    correct({ kind: event.shiftKey ? "redo" : "undo" });
  } else if (!command && !event.altKey && !isTyping(event)) {
    const used = (view === "images" && gridKey(event.key)) || (view === "suggested" && suggestedKey(event.key));
    if (used) event.preventDefault();
    else if (event.key === "?") showKeys();
  }
}

async function exportFolders(how) {
  const done = await post("/api/export", { how });
  if (!done) return;
  await refresh(); // the next folder has another name
  say(text("exported", { n: count(done.n_images), folder: done.folder }));
}

async function start() {
  await useLanguage();
  startCards(openClass);
  startGrid();
  startLearning();
  startTrying();
  onState(showTools);
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      location.hash = button.dataset.view;
    });
  }
  for (const kind of ["undo", "redo"]) byId(kind).addEventListener("click", () => correct({ kind }));
  byId("help").addEventListener("click", showKeys);
  byId("language").addEventListener("click", async () => {
    await otherLanguage();
    redraw();
  });
  for (const how of ["copy", "link"]) {
    byId(`export-${how}`).addEventListener("click", () => exportFolders(how));
  }
  addEventListener("hashchange", showView);
  addEventListener("keydown", onKey);
  await refresh();
  if (now.state) showView();
  document.body.dataset.ready = "yes";
}

start();
