// What changes: one stream for the whole tab, read with fetch so that it can carry a token. A hidden tab has none.
import { open } from "./api.js";
import { useEffect, useState } from "./html.js";

const AGAIN_AFTER_S = [1, 2, 5, 10];
/** @type {Map<string, Set<(value: any) => void>>} */
const listeners = new Map();
/** @type {Map<string, any>} */
const latest = new Map();
/** @type {AbortController | null} */
let current = null;
let due = false;
let state = { live: false, since: Date.now() };

/** @param {string} topic @param {(value: any) => void} listener */
function watch(topic, listener) {
  const known = listeners.get(topic);
  if (known) {
    known.add(listener);
    if (latest.has(topic)) listener(latest.get(topic));
  } else {
    listeners.set(topic, new Set([listener]));
    restart();
  }
  return () => {
    const left = listeners.get(topic);
    if (left && left.delete(listener) && !left.size) {
      listeners.delete(topic);
      latest.delete(topic);
      restart();
    }
  };
}

/** The latest value of a topic; null until it is known. @param {string} topic empty for none */
export function useTopic(topic) {
  const [found, set] = useState(/** @type {any} */ (null));
  useEffect(() => {
    set(null);
    return topic ? watch(topic, set) : undefined;
  }, [topic]);
  return found;
}

/** Whether the stream is live, and since when it is or is not. */
export function useLive() {
  const [found, set] = useState(state);
  useEffect(() => {
    const changed = () => set(state);
    addEventListener("livechange", changed);
    return () => removeEventListener("livechange", changed);
  }, []);
  return found;
}

/** @param {boolean} live */
function become(live) {
  if (state.live === live) return;
  state = { live, since: Date.now() };
  dispatchEvent(new Event("livechange"));
}

function restart() {
  if (due) return;
  due = true;
  queueMicrotask(() => {
    due = false;
    if (current) current.abort();
    current = null;
    if (listeners.size && !document.hidden) follow(current = new AbortController());
  });
}

document.addEventListener("visibilitychange", restart);

/** @param {AbortController} own */
async function follow(own) {
  let failed = 0;
  while (!own.signal.aborted) {
    let any = false;
    try {
      const answer = await open("events", { topics: [...listeners.keys()].join(",") }, own.signal);
      for await (const { event, data } of events(answer, own.signal)) {
        if (event === "end") break;
        if (event === "refused") throw new Error(data.message);
        any = true;
        become(true);
        latest.set(data.topic, data);
        for (const listener of listeners.get(data.topic) || []) listener(data);
      }
      if (!any) throw new Error("The stream ended before it began.");
      failed = 0;
    } catch {
      if (own.signal.aborted) return;
      become(false);
      await new Promise((resume) => setTimeout(resume, 1000 * AGAIN_AFTER_S[Math.min(failed, AGAIN_AFTER_S.length - 1)]));
      failed += 1;
    }
  }
}

/** @param {Response} answer @param {AbortSignal} signal */
async function* events(answer, signal) {
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  signal.addEventListener("abort", () => reader.cancel().catch(() => undefined));
  let text = "";
  while (true) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop() || "";
    for (const part of parts) {
      let event = "", data = "";
      for (const line of part.split("\n")) {
        if (line.startsWith("event: ")) event = line.slice(7);
        else if (line.startsWith("data: ")) data = line.slice(6);
      }
      if (event) yield { event, data: JSON.parse(data) };
    }
  }
}
