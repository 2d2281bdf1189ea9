/** Every text that is shown, in the language that was chosen. */

const LANGUAGES = ["en", "zh"];
let texts = {};

/** Return the language to begin with: the one chosen before, else the browser's. */
function initialLanguage() {
  const kept = localStorage.getItem("selfsort-language");
  if (LANGUAGES.includes(kept)) return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** Load a language, and write its texts into the page. */
export async function useLanguage(language = initialLanguage()) {
  texts = await (await fetch(`/static/texts/${language}.json`)).json();
  localStorage.setItem("selfsort-language", language);
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-text]")) {
    element.textContent = text(element.dataset.text);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset.label));
  }
  for (const element of document.querySelectorAll("[data-alt]")) {
    element.alt = text(element.dataset.alt);
  }
  document.getElementById("language").setAttribute("aria-label", text("language-label"));
}

/** Change to the other language. */
export function otherLanguage() {
  return useLanguage(document.documentElement.lang === "en" ? "zh" : "en");
}

/** Return a text with its {values} filled in. */
export function text(name, values = {}) {
  const found = texts[name];
  if (typeof found !== "string") return found ?? name;
  return found.replace(/\{([\w-]+)\}/g, (_, key) => values[key] ?? "");
}

/** Return a number as people of the language write it. */
export const count = (n) => n.toLocaleString(document.documentElement.lang);

/** Return a share as a percentage, without its sign. */
export const percent = (share, digits = 1) => (100 * share).toFixed(digits);
