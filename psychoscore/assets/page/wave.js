// A take as a WAV file: the same piano on a context that no clock drives.

import { Piano } from "./piano.js";

const RATE = 44_100, RING_S = 3; // After the last note

export async function waveBytes(notes) {
  const seconds = Math.max(...notes.map(n => n.onset_s + n.duration_s)) + RING_S;
  const context = new OfflineAudioContext(2, Math.ceil(RATE * seconds), RATE), piano = new Piano(context);
  piano.output.connect(context.destination);
  await piano.fetch(notes);
  for (const note of [...notes].sort((a, b) => a.onset_s - b.onset_s)) piano.strike(note, note.onset_s);
  return asWave(await context.startRendering());
}

// 16 bits, both channels.
function asWave(sound) {
  const channels = [0, 1].map(i => sound.getChannelData(i)), size = 4 * sound.length, view = new DataView(new ArrayBuffer(44 + size));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + size, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 2, true); view.setUint32(24, RATE, true); view.setUint32(28, 4 * RATE, true);
  view.setUint16(32, 4, true); view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, size, true);
  for (let i = 0, at = 44; i < sound.length; i++) for (const channel of channels) { view.setInt16(at, Math.round(32_767 * Math.min(1, Math.max(-1, channel[i]))), true); at += 2; }
  return view.buffer;
}
