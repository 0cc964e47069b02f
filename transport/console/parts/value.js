// A value of a user: coloured, never parsed. So 2^63-1, 1.10, the order of names and repeated names are shown as they are stored.
/** @import { Text, WholeInvocation } from "../facts.js" */
import { get } from "../api.js";
import { html, useState } from "../html.js";
import { shown, size } from "../text.js";

const TOKENS = /("(?:[^"\\]|\\.)*"?)(\s*:)?|(-?\d[\d.eE+-]*)|\b(true|false|null)\b|([^"\d\-tfn]+|.)/gs;

/** @param {string} text the parts of a JSON text with their kinds; put together they are the text again */
export function tokens(text) {
  const found = [];
  for (const [all, string, colon, number, word] of text.matchAll(TOKENS)) {
    if (string !== undefined) {
      found.push([colon === undefined ? "string" : "name", string]);
      if (colon) found.push(["", colon]);
    } else found.push([number !== undefined ? "number" : word !== undefined ? "word" : "", all]);
  }
  return found;
}

/** @param {{ of: Text | null, whole?: () => Promise<Text | null> }} props */
export function Value({ of, whole }) {
  const [loaded, load] = useState(/** @type {Text | null} */ (null));
  const value = loaded || of;
  if (!value) return html`<span class="soft">—</span>`;
  const text = loaded ? value.text : value.text.slice(0, 4096);
  const coloured = text.length > 20000 ? shown(text, 1e9) : tokens(text).map(([kind, part]) => (kind ? html`<span class=${kind}>${shown(part, 1e9)}</span>` : shown(part, 1e9)));
  return html`<code class="value">${coloured}</code>${value.cut && whole ? html`${" … "}<button class="plain" onClick=${async () => load(await whole())}>load ${size(value.bytes)}</button>` : null}`;
}

/** A function that reads one entry of a journal whole. @param {string} id @param {number} position */
export function wholeEntry(id, position) {
  /** @type {Record<string, number>} */
  const after = position ? { after: position - 1 } : {};
  return async () => {
    const found = /** @type {WholeInvocation} */ (await get(`invocations/${id}`, { ...after, limit: 1, values: "whole" }));
    return found.journal.length ? found.journal[0].value : null;
  };
}
