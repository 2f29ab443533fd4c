// All that the instrument says, in one place. The square's own words come with its dimensions.

const clock = s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
const percent = x => Math.round(100 * x);
const listed = words => words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;

export const dimensions = [{ name: "trauma", low: "serene", high: "wounded" }, { name: "entropy", low: "calm", high: "restless" }];

export const words = { // Of a plan, the descriptors by their names: what their ends are
  loudness: { low: "soft", high: "loud" },
  density: { low: "sparse", high: "dense" },
  brightness: { low: "dark", high: "bright" },
  register: { low: "low", high: "high" },
};
export const moreWords = {
  colour: { low: "minor", high: "major" },
  sustain: { low: "short", high: "held" },
  chord: { low: "single notes", high: "full chords" },
  spread: { low: "narrow", high: "wide" },
};

export const say = {
  title: "psychoscore, an instrument",
  name: "psychoscore",
  lead: "Press and drag: it plays.",
  leadLink: seconds => `A take of ${clock(seconds)} came with this address. Play composes it again.`,
  subtitle: "A small model composes piano music inside this page, four seconds at a time, and follows the point. Nothing is sent anywhere.",
  diagnosis: "The dials are musical, not clinical: they follow what listeners heard, and diagnose nobody.",
  square: "Mood",
  play: "Play", pause: "Pause", freeze: "Freeze", goOn: "Go on", goBack: "Go back", again: "Again from here", newTake: "New take",
  hints: {
    freeze: "Stop composing; the take stays",
    goOn: "Compose on from the end of the take",
    goBack: "Take the last change back: the music returns to where it was made",
    again: "Keep what lies before the segment that sounds, and draw what follows anew, as a new take",
    keyboard: "Play a phrase on a keyboard that is connected, and the model goes on from it",
    newTake: "Begin another take with another seed",
  },
  shortcuts: "Keys, anywhere but in a field: space plays and pauses, F freezes, Backspace goes back, A is again from here, N a new take.",
  fetching: (loaded, total) => `Fetching the model: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`,
  preparing: "Making the model ready…",
  first: "Composing the first four seconds…",
  recalled: (done, total) => `Composing the take again: ${done} of ${total} segments`,
  listening: "It plays, and follows the point.",
  frozen: seconds => `Frozen: a take of ${clock(seconds)}.`,
  paused: "Paused.",
  wentBack: seconds => `Gone back to ${clock(seconds)}.`,
  nothingBack: "There is nothing to go back to.",
  branched: seconds => `A new take that keeps the first ${clock(seconds)}.`,
  anew: "A new take.",
  chosen: number => `Take ${number}.`,
  late: "This device composes more slowly than the music lasts, so there are gaps. Freeze it and play the take to hear it without them.",
  otherModel: "This address was made with another model. The take may sound different here.",
  badLink: "The address holds no take that can be read.",
  roll: "Piano roll",
  position: "Position",
  clock: (now, all) => `${clock(now)} / ${clock(all)}`,
  seconds: clock,
  moods: "In words", moodsExample: "a calm, hopeful ending", moodsGo: "Set the point",
  understood: ({ known, unknown, point }) => [
    known.length ? `Understood ${listed(known)}: trauma ${point.trauma.toFixed(2)}, entropy ${point.entropy.toFixed(2)}.` : "No word of that is known here.",
    unknown.length ? `Not known: ${listed(unknown)}.` : ""].filter(Boolean).join(" "),
  plan: "The plan",
  planHint: "What is planned for each segment (line) and what it plays (dots). Drag a curve, or move a slider, to set what follows yourself; a double click or Escape gives it back to the planner.",
  planned: "by the planner", own: "set by you",
  moreWords: own => own ? `More words (${own} set by you)` : "More words",
  word: (name, low, high) => `${name}, ${low} to ${high}`,
  takes: "Takes",
  takesHint: "Lines are what was asked for along time, dots what is heard: where the planner's segments of real music that sound like it lie, in the mean. The dashed ring in the square is the same of what sounds now.",
  take: (number, seed, seconds) => `Take ${number}, ${clock(seconds)}, seed ${seed}`,
  takePlay: (number, seed, seconds) => `Play take ${number}: ${clock(seconds)}, seed ${seed}`,
  live: "live",
  curves: (asked, heard) => `Asked for in the mean: trauma ${percent(asked.trauma)} %, entropy ${percent(asked.entropy)} %; heard: trauma ${percent(heard.trauma)} %, entropy ${percent(heard.entropy)} %`,
  keep: "Keep",
  link: "Copy link", linkCopied: "The link is copied. It holds the whole take.", linkShown: "The address of this page now holds the whole take: copy it from there.",
  open: "Continue a MIDI file", opened: (name, seconds) => `Goes on from the last ${clock(seconds)} of ${name}.`,
  keyboard: "MIDI keyboard", played: "Go on from what I played",
  hearing: names => names.length ? `Play on ${listed(names)}: it sounds here. Two seconds after you stop, the model goes on.` : "No MIDI keyboard is connected. Once one is, it sounds here.",
  hears: "You play.", notHearing: "The MIDI keyboard is not listened to.",
  wentOn: seconds => `Goes on from the ${clock(seconds)} that you played.`,
  midi: "MIDI", musicxml: "MusicXML", wav: "WAV", rendering: "Rendering the sound…", rendered: "Saved.",
  empty: "Piano roll, empty", rolled: notes => `Piano roll, ${notes} notes`,
  errors: {
    unreachable: "The model cannot be fetched: there is no connection.",
    load: message => `The model cannot be made ready: ${message}`,
    fetch: code => `The model cannot be fetched: the answer was ${code}.`,
    compose: message => `Composing has failed: ${message}`,
    open: (name, message) => `${name} cannot be continued: ${message}.`,
    keyboard: "This browser does not let the page hear MIDI keyboards: allow it in the browser's settings of this page.",
    noWorker: "This browser cannot run the model: it needs module workers and WebAssembly with SIMD.",
    noScript: "This page needs JavaScript.",
  },
  pianoBy: "The piano is the Salamander Grand Piano by Alexander Holm, ", pianoLicence: "CC BY 3.0",
};
