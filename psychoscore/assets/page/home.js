// Where the page is at home. On a site its files lie around it, and it has an address of its own. In a notebook it is in
// a frame that has neither: the frame's element has a holder, { address(path), dark, follow(session) }, as notebook.js has it.

export const holder = globalThis.frameElement?.holder ?? null;
export const HOME = holder ? null : new URL("../", import.meta.url); // Where page, piano and model are

// The address of a file, such as page/style.css or piano/60-soft.ogg.
export const address = async path => holder ? holder.address(path) : new URL(path, HOME).href;

// Whether colours are dark, as a MediaQueryList says it.
export const dark = holder ? holder.dark : matchMedia("(prefers-color-scheme: dark)");
