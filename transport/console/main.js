// The frame of every screen: names, search, what is live; and which screen the URL asks for.
/** @import { Fetched } from "./fetched.js" */
/** @import { TroubleEvent, Whoami } from "./facts.js" */
import { ApiError, useToken } from "./api.js";
import { html, render, useEffect, useRef, useState } from "./html.js";
import { useFetched } from "./fetched.js";
import { KEYS, pressed } from "./keys.js";
import { Invocation } from "./screens/invocation.js";
import { Invocations } from "./screens/invocations.js";
import { Overview } from "./screens/overview.js";
import { Trouble } from "./screens/trouble.js";
import { useLive, useTopic } from "./stream.js";
import { searched } from "./search.js";
import { short, shown } from "./text.js";
import { length, moment, otherZone, useNow, zone } from "./time.js";
import { address, go, useAddress } from "./url.js";

/** @type {Record<string, (props: any) => any>} */
const SCREENS = { overview: Overview, trouble: Trouble, invocations: Invocations, invocation: Invocation };
const LISTED = [["overview", "Overview"], ["trouble", "Trouble"], ["invocations", "Invocations"]];

function Page() {
  const who = /** @type {Fetched<Whoami>} */ (useFetched("whoami"));
  const [, redraw] = useState(0);
  useEffect(() => {
    const changed = () => redraw((before) => before + 1);
    addEventListener("zonechange", changed);
    const timer = setInterval(who.again, 10000);
    return () => (removeEventListener("zonechange", changed), clearInterval(timer));
  }, []);
  const [kept, keep] = useState(/** @type {Whoami | null} */ (null));
  useEffect(() => {
    if (who.data) keep(who.data);
  }, [who.data]);
  const me = who.data || kept;
  if (who.error && (who.error.status === 401 || who.error.status === 403 || !me)) return html`<${Refused} error=${who.error} again=${who.again} />`;
  if (!me) return html`<main class="alone"><p class="late soft" role="status">Asking the app …</p></main>`;
  return html`<${Frame} me=${me} lost=${who.error} />`;
}

/** @param {{ me: Whoami, lost: ApiError | null }} props */
function Frame({ me, lost }) {
  const found = useAddress();
  const [helps, help] = useState(false);
  const topic = /** @type {TroubleEvent | null} */ (useTopic("trouble"));
  const person = topic && topic.trouble ? topic.trouble.causes.filter((one) => one.needs_a_person).length : 0;
  const Screen = Object.hasOwn(SCREENS, found.screen) ? SCREENS[found.screen] : null;
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const place = `${found.screen}/${found.parts.join("/")}`;
  useEffect(() => {
    document.title = `${person ? `(${person}) ` : ""}${shown(me.app, 60)} · ${found.screen}${found.parts.length ? ` ${short(found.parts[0])}` : ""}`;
  }, [person, me.app, place]);
  useEffect(() => {
    const key = (/** @type {KeyboardEvent} */ event) => pressed(event, () => help(true));
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const first = useRef(true);
  useEffect(() => {
    if (!first.current && main.current) main.current.focus({ preventScroll: false });
    first.current = false;
  }, [place]);
  return html`<a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), main.current?.focus())}>Skip to the content</a>
    <header><span class="app" title=${me.app}>${shown(me.app, 40)}</span> <${Live} />
      <${Search} />
      <button class="plain" onClick=${otherZone} aria-label=${zone() ? "times are in UTC: show local times" : "times are local: show UTC"} title=${zone() ? "times are in UTC: show local times" : "times are local: show UTC"}>${zone() || "local time"}</button>
      <button class="plain keys" onClick=${() => help(true)} aria-label="keys">?</button></header>
    <nav aria-label="Screens"><ul>${LISTED.map(([name, label]) => html`<li><a href=${address(name)} aria-current=${found.screen === name || (name === "invocations" && found.screen === "invocation") ? "page" : undefined}>${label}${name === "trouble" && person ? html` <b class="count" title=${`${person} need a person`}>${person}</b>` : null}</a></li>`)}
      <li><a href="../../docs">Try handlers</a></li></ul><p class="soft version">virtual-actors ${me.version}</p></nav>
    <main id="main" tabindex="-1" ref=${main}>
      ${lost ? html`<p class="band" role="alert">${lost.message} What is shown may be old.</p>` : null}
      ${me.stopped ? html`<section class="band" role="alert"><h2>The app has stopped: <code>${me.stopped.error}</code></h2><p>${shown(me.stopped.message)}</p><p>What it means and what to do: <code>actors explain ${me.stopped.error}</code></p></section>` : null}
      ${Screen ? html`<${Screen} parts=${found.parts} query=${found.query} />` : html`<h1>There is no such screen</h1><p><a href=${address("overview")}>Overview</a></p>`}
    </main>
    ${helps ? html`<${Help} close=${() => help(false)} />` : null}`;
}

function Live() {
  const { live, since } = useLive();
  const now = useNow();
  return html`<span class=${live ? "live" : "stale"}>${live ? "● live" : `◌ not live for ${length(now - since)}`}${" "}<time>${moment(new Date(now).toISOString())}</time></span>`;
}

function Search() {
  const [said, say] = useState("");
  const search = async (/** @type {any} */ event) => {
    event.preventDefault();
    const text = event.target.elements.search.value.trim();
    if (!text) return;
    say("");
    try {
      go(await searched(text));
    } catch (error) {
      say(error instanceof ApiError ? error.message : "It could not be looked up.");
    }
    event.target.elements.search.blur();
  };
  return html`<form role="search" onSubmit=${search}><label class="unseen" for="search">Search for an id, an object or an error</label><input id="search" name="search" type="search" placeholder="/  id, Class/key, key, error" autocomplete="off" spellcheck=${false} onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Escape" && /** @type {HTMLElement} */ (event.target).blur()} />${said ? html`<span class="refused" role="alert">${said}</span>` : null}</form>`;
}

/** @param {{ close: () => void }} props */
function Help({ close }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => dialog.current?.showModal(), []);
  return html`<dialog ref=${dialog} onClose=${close} aria-labelledby="help"><h2 id="help">Keys</h2><dl>${KEYS.map(([key, what]) => html`<div><dt><kbd>${key}</kbd></dt><dd>${what}</dd></div>`)}</dl><form method="dialog"><button>Close</button></form></dialog>`;
}

/** @param {{ error: ApiError, again: () => void }} props */
function Refused({ error, again }) {
  const give = (/** @type {any} */ event) => {
    event.preventDefault();
    useToken(event.target.elements.token.value.trim());
    again();
  };
  return html`<main class="alone"><h1>actors</h1><p role="alert">${error.message} <code>${error.code}</code></p>
    ${error.status === 401 ? html`<form onSubmit=${give}><label for="token">Admin token, kept for this tab only</label><input id="token" name="token" type="password" autocomplete="off" />${" "}<button>Sign in</button></form>` : html`<button onClick=${again}>Try again</button>`}</main>`;
}

render(html`<${Page} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
