// Moods in words, as points on the square. The directions are those of Russell's circle (A Circumplex Model of Affect,
// Journal of Personality and Social Psychology 39, 1980): pleasure at 0 degrees, excitement 45, arousal 90, distress 135,
// displeasure 180, depression 225, sleepiness 270, relaxation 315; trauma is displeasure, entropy arousal. Which further
// words stand beside each of the eight, and how strong a word is, is our choice and was not measured.

const CIRCLE = {
  0: "pleasant happy glad pleased cheerful joyful warm sunny sweet hopeful hope loving love tender",
  45: "excited exciting delighted elated lively playful bright jubilant triumphant euphoric festive dancing joyous",
  90: "aroused restless intense energetic wild astonished busy fast urgent stormy storm hectic rushing",
  135: "distressed tense angry afraid anxious nervous alarmed furious frantic fearful desperate panic agitated",
  180: "unpleasant miserable unhappy wounded hurt bitter dark painful harsh haunted grim",
  225: "sad depressed gloomy melancholy melancholic mournful lonely grieving grief sorrowful bleak sombre wistful",
  270: "sleepy tired still slow quiet drowsy hushed weary motionless bored empty",
  315: "calm relaxed serene peaceful content gentle soothing soft tranquil dreamy resting satisfied healing",
};
const STRONG = 0.42, MIDDLE = 0.5; // How far from the middle a word lies
const MODIFIERS = { very: 1.15, deeply: 1.15, extremely: 1.2, slightly: 0.5, somewhat: 0.6, little: 0.5, almost: 0.7, not: -1, hardly: -0.5 };
const SILENT = new Set("a an and the but with of in for to it is be that this more some feel feeling mood music piece song tune ending end beginning something like as or then make play me i want please at my so too quite bit".split(" ")); // They say nothing of a mood

const PLACES = new Map(Object.entries(CIRCLE).flatMap(([degrees, words]) => words.split(" ").map(word => [word, [-Math.cos(degrees * Math.PI / 180), Math.sin(degrees * Math.PI / 180)]])));

// { point, known, unknown }: the mean of the words that are known, and which those were; `point` is null without any.
export function understand(text) {
  const known = [], unknown = [];
  let [across, up, factor, said] = [0, 0, 1, ""];
  for (const word of text.toLowerCase().match(/[\p{L}'’-]+/gu) ?? []) {
    if (word in MODIFIERS) { factor *= MODIFIERS[word]; said += `${word} `; continue; }
    const place = PLACES.get(word);
    if (place) {
      known.push(said + word);
      across += factor * place[0];
      up += factor * place[1];
      [factor, said] = [1, ""];
    } else if (!SILENT.has(word)) unknown.push(word);
  }
  const within = x => Math.round(100 * Math.min(1, Math.max(0, x))) / 100, n = known.length;
  return { known, unknown, point: n ? { trauma: within(MIDDLE + STRONG * across / n), entropy: within(MIDDLE + STRONG * up / n) } : null };
}
