// The types of html.js, as far as the page uses them: what checks the page does not read the libraries.
export type Node = unknown;
export function html(texts: TemplateStringsArray, ...values: unknown[]): Node;
export function render(node: Node, parent: Element): void;
export function useCallback<F>(callback: F, inputs: unknown[]): F;
export function useEffect(effect: () => unknown, inputs: unknown[]): void;
export function useRef<T>(first: T): { current: T };
export function useState<T>(first: T | (() => T)): [T, (next: T | ((before: T) => T)) => void];
