// Requests to the admin routes. A header says that the console asks, and as which origin: no page of another origin can send it.
const BASE = new URL("../admin/", location.href.split("#")[0]);
export const APP = new URL("../../", location.href.split("#")[0]).href.replace(/\/$/, "");
const KEPT = "actors-console-token";

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Whether requests carry a token. */
export function hasToken() {
  return sessionStorage.getItem(KEPT) !== null;
}

/** @param {string} token kept for this tab only; empty to forget it */
export function useToken(token) {
  if (token) sessionStorage.setItem(KEPT, token);
  else sessionStorage.removeItem(KEPT);
}

/** @param {string} path @param {Record<string, string | number>} parameters @param {AbortSignal} [signal] */
export async function open(path, parameters = {}, signal) {
  const address = new URL(path, BASE);
  for (const [name, value] of Object.entries(parameters)) if (value !== "") address.searchParams.set(name, String(value));
  /** @type {Record<string, string>} */
  const headers = { "x-actors-console": location.origin };
  const token = sessionStorage.getItem(KEPT);
  if (token) headers.authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(address, { headers, signal, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (signal && signal.aborted) throw error;
    throw new ApiError(0, "not_reached", "The app does not answer. It may have stopped: see its terminal or its log.");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new ApiError(answer.status, told.error || "unknown", told.message || `The app answered with ${answer.status}.`);
  }
  return answer;
}

/** @param {string} path @param {Record<string, string | number>} [parameters] @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, parameters, signal) {
  return (await open(path, parameters, signal)).json();
}

/** An id as a part of a path. @param {string} id */
export function checked(id) {
  if (!/^[A-Za-z0-9_-]{1,200}$/.test(id)) throw new ApiError(400, "bad_id", "This is not a valid id.");
  return id;
}
