// Where a text that was typed into the search leads: an id, an object, a class, a part of a key, or a part of an error.
/** @import { Diagnosis, Page } from "./facts.js" */
import { ApiError, get } from "./api.js";
import { address } from "./url.js";

/** The address of what was found. Raises ApiError. @param {string} text not empty */
export async function searched(text) {
  if (/^inv_[A-Za-z0-9_-]+$/.test(text)) return address("invocation", {}, text);
  if (/^prom_[A-Za-z0-9_-]+$/.test(text)) {
    const found = /** @type {Diagnosis} */ (await get("doctor", { id: text }));
    return address("invocation", {}, found.chain[0]?.id || found.id || "");
  }
  if (/^(inv|prom)_.*…/.test(text)) throw new ApiError(400, "bad_id", "This id was shortened to show it. Copy the whole id: it is on the page of the invocation.");
  const all = meanings(text);
  for (const filter of all) {
    const page = /** @type {Page} */ (await get("invocations", { ...filter, limit: 1 }));
    if (page.invocations.length) return address("invocations", { ...filter, status: "all" });
  }
  return address("invocations", { ...all[all.length - 1], status: "all" });
}

/** The filters that it may mean, the likeliest first. @param {string} text @returns {Record<string, string>[]} */
function meanings(text) {
  const first = text.indexOf("/"), last = text.lastIndexOf("/");
  /** @type {Record<string, string>[]} */
  const parts = [{ text }, { error: text }];
  if (first < 0) return [{ service: text }, ...parts];
  const service = text.slice(0, first), rest = text.slice(first + 1);
  const handlers = last > first ? [{ service, key: text.slice(first + 1, last), handler: text.slice(last + 1) }] : [{ service, handler: rest }];
  return [{ service, key: rest }, ...handlers, ...parts];
}
