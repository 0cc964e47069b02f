// Who called an invocation, and what it has called and sent, as a tree.
/** @import { Fetched } from "../fetched.js" */
/** @import { Child, Family as Found } from "../facts.js" */
import { html } from "../html.js";
import { useFetched, Waiting } from "../fetched.js";
import { Status } from "./status.js";
import { Age, InvocationLink, Target } from "./small.js";

/** @param {{ id: string }} props */
export function Family({ id }) {
  const read = /** @type {Fetched<Found>} */ (useFetched(`invocations/${id}/family`));
  const found = read.data;
  if (!found) return html`<${Waiting} of=${read} what="the calls" />`;
  return html`<div class="family">
    ${found.ancestors.length ? html`<p>Called by ${found.ancestors.map((one, place) => html`${place ? ", called by " : ""}<${InvocationLink} id=${one.id} />${" "}<${Target} service=${one.service} key_=${one.key} handler=${one.handler} />`)}.</p>` : null}
    ${found.children.length ? html`<${Children} of=${found.children} />` : html`<p>It has called and sent nothing.</p>`}
    ${found.cut ? html`<p class="soft">There is more below: open one of these.</p>` : null}</div>`;
}

/** @param {{ of: Child[] }} props */
function Children({ of }) {
  return html`<ul class="tree">${of.map((one) => html`<li key=${`${one.position}${one.id}`}><span class="soft">${one.entry}</span> <${InvocationLink} id=${one.id} />${" "}
    ${one.service ? html`<${Target} service=${one.service} key_=${one.key} handler=${one.handler} /> <${Status} of=${one.status} held=${one.held} /> <${Age} since=${one.accepted_at} until=${one.ended_at} />` : html`<span class="soft">is no longer kept</span>`}
    ${one.children.length ? html`<${Children} of=${one.children} />` : null}</li>`)}</ul>`;
}
