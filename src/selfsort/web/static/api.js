/** Questions to the server, and corrections that are neither lost nor done twice. */

import { text } from "./texts.js";

const PAUSES = [300, 700, 1500, 3000, 6000];
const listeners = [];
export const now = { state: null };

/** Call a function whenever the state changes. */
export function onState(listener) {
  listeners.push(listener);
}

/** Remember a state, and tell everybody. */
export function setState(state) {
  now.state = state;
  for (const listener of listeners) listener(state);
}

/** Show a sentence where screen readers announce it. */
export function say(sentence, wrong = false) {
  const place = document.getElementById("status");
  place.textContent = sentence;
  place.classList.toggle("wrong", wrong);
}

/** An answer that is no success; `again` says whether asking again may help. */
class Refused extends Error {
  constructor(sentence, again) {
    super(sentence);
    this.again = again;
  }
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(text("offline"), true);
  }
  if (answer.ok) return answer.json();
  const told = await answer.json().catch(() => ({}));
  throw new Refused(told.error ?? `${answer.status}`, answer.status === 503);
}

/** Return the answer to a question, or say what is wrong and return null. */
export async function get(path) {
  return told(() => ask(path));
}

/** The same for what changes something, or is too long for an address. */
export async function post(path, body = {}) {
  return told(() => ask(path, body));
}

async function told(asking) {
  try {
    return await asking();
  } catch (error) {
    say(error.message, true);
    return null;
  }
}

/** Send one correction until it is answered; it has one key however often it is sent. */
async function send(correction) {
  const body = { key: crypto.randomUUID(), ...correction };
  for (const pause of [...PAUSES, null]) {
    try {
      return await ask("/api/correct", body);
    } catch (error) {
      if (!error.again || pause === null) throw error;
      say(text("retry"), true);
      await new Promise((done) => setTimeout(done, pause));
    }
  }
  return null;
}

const MOST_IMAGES = 5000;
let queue = Promise.resolve(true);

/** Make a correction, after those before it; return whether it was done. */
export function correct(correction) {
  queue = queue.then(() => corrected(correction));
  return queue;
}

async function corrected(correction) {
  const parts = [];
  const images = correction.images;
  if (images) {
    for (let i = 0; i < images.length; i += MOST_IMAGES) {
      parts.push({ ...correction, images: images.slice(i, i + MOST_IMAGES) });
    }
  } else {
    parts.push(correction);
  }
  try {
    for (const part of parts) setState(await send(part));
  } catch (error) {
    say(error.message, true);
    return false;
  }
  say(text(`did-${correction.kind}`, { n: images ? images.length : 0 }));
  return true;
}

/** Ask for the state anew. */
export async function refresh() {
  const state = await get("/api/state");
  if (state) setState(state);
}

/** Return the class of a number, or undefined. */
export const classOf = (id) => now.state.classes.find((one) => one.id === id);

/** Return the name of a class, or that of none of these. */
export const nameOf = (id) => classOf(id)?.name ?? text("filter-rejected");
