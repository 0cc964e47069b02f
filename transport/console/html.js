// The libraries of the page, in one place. Templates are texts that htm turns into nodes: data never becomes markup.
import { h, render } from "./vendor/preact.js";
import { useCallback, useEffect, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
export { render, useCallback, useEffect, useRef, useState };
