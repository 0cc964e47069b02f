// Texts of users as they are shown: what could hide or reorder others is shown as an escape. Copying gives the raw text.
const HIDDEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0]|\udb40[\udc00-\udfff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const LONGEST = 2000;

/** @param {string | null | undefined} text @param {number} [longest] */
export function shown(text, longest = LONGEST) {
  const whole = text ?? "";
  const cut = whole.length > longest ? whole.slice(0, longest) + ` … (${whole.length.toLocaleString("en")} characters)` : whole;
  return cut.replace(HIDDEN, (found) => Array.from({ length: found.length }, (_, place) => "\\u" + found.charCodeAt(place).toString(16).padStart(4, "0")).join(""));
}

/** Shortened in the middle. @param {string} id */
export function short(id) {
  return id.length > 20 ? `${id.slice(0, 10)}…${id.slice(-4)}` : id;
}

/** @param {string} service @param {string} key */
export function target(service, key) {
  return key ? `${service}/${key}` : service;
}

/** @param {number} count @param {string} what */
export function counted(count, what) {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}

/** @param {number | null} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "—";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
