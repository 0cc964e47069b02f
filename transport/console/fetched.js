// What a screen shows, read once and again when it is asked to.
import { ApiError, get } from "./api.js";
import { html, useCallback, useEffect, useState } from "./html.js";

/** @template T @typedef {{ data: T | null, error: ApiError | null, loading: boolean, at: number, again: () => void }} Fetched */

/** @param {string} path empty for nothing @param {Record<string, string | number>} [parameters] @returns {Fetched<any>} */
export function useFetched(path, parameters = {}) {
  const asked = path + "?" + JSON.stringify(parameters);
  const [found, set] = useState({ asked: "", data: /** @type {any} */ (null), error: /** @type {ApiError | null} */ (null), at: 0 });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    const own = new AbortController();
    get(path, parameters, own.signal).then(
      (data) => set({ asked, data, error: null, at: Date.now() }),
      (error) => own.signal.aborted || set((before) => ({ asked, data: before.asked === asked ? before.data : null, error: asApi(error), at: before.at })),
    );
    return () => own.abort();
  }, [asked, turn]);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  const mine = found.asked === asked;
  return { data: mine ? found.data : null, error: mine ? found.error : null, loading: !mine && path !== "", at: found.at, again };
}

/** @param {unknown} error */
function asApi(error) {
  return error instanceof ApiError ? error : new ApiError(0, "page_error", String(error));
}

/** @param {{ of: Fetched<unknown>, what: string }} props a line while something is read, or its error */
export function Waiting({ of, what }) {
  if (of.error) return html`<p class="refused" role="alert">${of.error.message}${" "}<code>${of.error.code}</code>${" "}<button onClick=${of.again}>try again</button></p>`;
  if (of.loading) return html`<p class="soft late" role="status">Reading ${what} …</p>`;
  return null;
}
