// The URL is the state of the page: the screen and its filters stand behind the #, so no request has a key in its path.
import { useEffect, useState } from "./html.js";

/** @param {string} hash */
export function parsed(hash) {
  const [path, query = ""] = split(hash.replace(/^#/, ""), "?");
  const parts = path.split("/").filter(Boolean).map(decoded);
  return { screen: parts[0] || "overview", parts: parts.slice(1), query: Object.fromEntries(new URLSearchParams(query)) };
}

/** @param {string} screen @param {Record<string, string | undefined>} [query] @param {string[]} parts */
export function address(screen, query = {}, ...parts) {
  /** @type {[string, string][]} */
  const given = [];
  for (const [name, value] of Object.entries(query)) if (value) given.push([name, value]);
  const path = [screen === "overview" ? "" : screen, ...parts].filter((part, place) => part || !place).map(encodeURIComponent).join("/");
  return `#/${path}${given.length ? "?" + new URLSearchParams(given) : ""}`;
}

/** @param {string} to @param {boolean} [replaces] */
export function go(to, replaces) {
  if (replaces) history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  dispatchEvent(new Event("hashchange"));
}

export function useAddress() {
  const [found, set] = useState(() => parsed(location.hash));
  useEffect(() => {
    const changed = () => set(parsed(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return found;
}

/** @param {string} text @param {string} mark */
function split(text, mark) {
  const place = text.indexOf(mark);
  return place < 0 ? [text] : [text.slice(0, place), text.slice(place + 1)];
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
