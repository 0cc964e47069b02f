// Instants and durations, in the words of the command line: 2 h 14 min.
import { useEffect, useState } from "./html.js";

/** @type {[number, string][]} */
const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const KEPT = "actors-console-zone";

/** @param {number} ms */
export function length(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  for (let place = 0; place < UNITS.length; place++) {
    const [unit, name] = UNITS[place];
    if (seconds >= unit || unit === 1) {
      const first = Math.floor(seconds / unit);
      const next = UNITS[place + 1];
      const more = next ? Math.floor((seconds % unit) / next[0]) : 0;
      return `${first} ${name}` + (more ? ` ${more} ${next[1]}` : "");
    }
  }
  return "";
}

/** A short duration, to the millisecond. @param {number} ms */
export function exact(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s` : length(ms);
}

export function zone() {
  return localStorage.getItem(KEPT) === "utc" ? "UTC" : undefined;
}

export function otherZone() {
  if (zone()) localStorage.removeItem(KEPT);
  else localStorage.setItem(KEPT, "utc");
  dispatchEvent(new Event("zonechange"));
}

/** @param {string} at in ISO 8601 @param {boolean} [whole] */
export function moment(at, whole) {
  const found = new Date(at);
  const today = found.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: whole ? 3 : undefined, hourCycle: "h23", timeZone: zone() };
  if (whole || !today) Object.assign(parts, { year: whole ? "numeric" : undefined, month: "short", day: "numeric" });
  if (whole) parts.timeZoneName = "short";
  return found.toLocaleString("en-GB", parts);
}

/** The current time in milliseconds, each second. */
export function useNow() {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
