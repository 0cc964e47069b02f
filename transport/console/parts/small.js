// Ids, instants, names: each shown the same everywhere.
import { html, useEffect, useState } from "../html.js";
import { copy, short, shown, target } from "../text.js";
import { length, moment, useNow } from "../time.js";
import { address } from "../url.js";

/** @param {{ at: string | null, whole?: boolean }} props */
export function When({ at, whole }) {
  return at ? html`<time datetime=${at} title=${`${moment(at, true)} · ${at}`}>${moment(at, whole)}</time>` : html`<span class="soft">—</span>`;
}

/** How long ago, or for how long. @param {{ since: string | null, until?: string | null }} props */
export function Age({ since, until }) {
  const now = useNow();
  if (!since) return html`<span class="soft">—</span>`;
  const ms = (until ? Date.parse(until) : now) - Date.parse(since);
  return html`<span title=${moment(since, true)}>${length(ms)}</span>`;
}

/** @param {{ text: string, label: string }} props */
export function Copy({ text, label }) {
  const [said, say] = useState("");
  useEffect(() => {
    if (!said) return undefined;
    const timer = setTimeout(() => say(""), 1500);
    return () => clearTimeout(timer);
  }, [said]);
  const done = async () => say((await copy(text)) ? "copied" : "cannot copy here");
  return html`<button class="plain" onClick=${done} aria-label=${`copy ${label}`}>${said || "copy"}</button><span class="unseen" role="status">${said}</span>`;
}

/** @param {{ id: string }} props */
export function InvocationLink({ id }) {
  return html`<a class="mono" href=${address("invocation", {}, id)} title=${id}>${short(id)}</a>`;
}

/** `key` is a name that the library keeps. @param {{ service: string, key_: string, handler?: string }} props */
export function Target({ service, key_, handler }) {
  return html`<span class="target">${shown(target(service, key_), 200)}${handler ? html`${" "}<span class="soft">${shown(handler)}</span>` : null}</span>`;
}
