// The listener of the server that the page comes from: it estimates the dials from all notes of a take.

import { midiBytes } from "./model/smf.js";
import { say } from "./strings.js";

// { profile: { name: { value, low, high } }, remarks }; `service` is the description of the server's API.
export async function listen(notes, service, key) {
  const headers = { "Content-Type": "audio/midi", ...(key ? { "X-API-Key": key } : {}) };
  let answer;
  try { answer = await fetch(new URL("profile", service), { method: "POST", headers, body: midiBytes(notes) }); }
  catch { throw new Error(say.errors.noServer); }
  const said = await answer.json().catch(() => null);
  if (!answer.ok || !said) throw new Error(`${said?.errors?.[0]?.message ?? answer.status}.`);
  return said;
}
